/** Claims of a citizen, as an identity provider tells them. */
export type Claims = Record<string, unknown>

export interface Citizen {
  username: string
  password: string
  /** What this citizen is there to show. */
  about: string
  claims: Claims
  /** What some providers know differently; `undefined` is what they do not know. */
  knownAs?: Record<string, Claims>
  /** The providers where he or she has an account; all unless set. */
  accounts?: string[]
}

const france = '99100'
const long = (words: string, length: number) => words.repeat(Math.ceil(length / words.length)).slice(0, length).trim()

/** Nobody in this table lives. */
export const citizens: Citizen[] = [
  {
    username: 'marion',
    password: 'tournesol',
    about: 'connue des cinq, écrite chaque fois autrement : la même personne',
    claims: {
      given_name: 'Marion Élise',
      given_name_array: ['Marion', 'Élise'],
      family_name: 'Lefèvre du Pré',
      gender: 'female',
      birthdate: '1984-07-19',
      birthplace: '69123',
      birthcountry: france,
      preferred_username: 'Garnier',
      email: 'marion.lefevre@courriel.example',
      email_verified: true,
      phone_number: '+33 6 12 34 56 78',
      address: { formatted: '12 rue des Tilleuls\n69003 Lyon', street_address: '12 rue des Tilleuls', postal_code: '69003', locality: 'Lyon', country: 'France' }
    },
    knownAs: {
      tresorine: { given_name: 'MARION ELISE', given_name_array: ['MARION', 'ELISE'], family_name: 'LEFEVRE DU PRE', email: 'mlefevre@finances.example' },
      terramut: { given_name: ' Marion  Elise ', family_name: 'lefevre du pré' },
      'plume-et-pli': { given_name: 'Marion Élise'.normalize('NFD'), family_name: 'Lefèvre  Du Pré'.normalize('NFD') },
      ondelis: { given_name: 'marion élise', family_name: 'Lefevre Du Pre', preferred_username: undefined }
    }
  },
  {
    username: 'anne-sophie',
    password: 'bruyere',
    about: 'nom composé, accents et apostrophe',
    claims: {
      given_name: 'Anne-Sophie Gaëlle Noémie',
      given_name_array: ['Anne-Sophie', 'Gaëlle', 'Noémie'],
      family_name: 'Le Floc’h-Kérangüen',
      gender: 'female',
      birthdate: '1991-02-28',
      birthplace: '29019',
      birthcountry: france,
      preferred_username: 'Œillet',
      email: 'as.lefloch@courriel.example',
      email_verified: true,
      phone_number: '+33 7 98 76 54 32',
      address: { formatted: '3 venelle de l’Élorn\n29200 Brest', street_address: '3 venelle de l’Élorn', postal_code: '29200', locality: 'Brest', country: 'France' }
    }
  },
  {
    username: 'amina',
    password: 'jasmin',
    about: 'née à l’étranger : pas de commune de naissance',
    claims: {
      given_name: 'Amina',
      given_name_array: ['Amina'],
      family_name: 'Benhaddou',
      gender: 'female',
      birthdate: '1976-11-03',
      birthplace: '',
      birthcountry: '99352',
      email: 'amina@courriel.example',
      email_verified: false
    }
  },
  {
    username: 'moussa',
    password: 'baobab',
    about: 'date de naissance présumée : seule l’année est connue',
    claims: {
      given_name: 'Moussa',
      given_name_array: ['Moussa'],
      family_name: 'Keïta',
      gender: 'male',
      birthdate: '1980-00-00',
      birthplace: '',
      birthcountry: '99335',
      email: 'moussa.keita@courriel.example',
      email_verified: true,
      phone_number: '+33 6 00 11 22 33'
    }
  },
  {
    username: 'lucien',
    password: 'arbousier',
    about: 'né en Corse ; Vitalys ignore son sexe, Trésorine et Ondélis ne le connaissent pas',
    accounts: ['vitalys', 'terramut', 'plume-et-pli'],
    claims: {
      given_name: 'Lucien',
      given_name_array: ['Lucien'],
      family_name: 'Casanova',
      gender: 'male',
      birthdate: '1958-05-01',
      birthplace: '2A004',
      birthcountry: france,
      email: 'lucien@courriel.example',
      email_verified: true
    },
    knownAs: { vitalys: { gender: undefined } }
  },
  {
    username: 'maximilienne',
    password: 'glycine',
    about: 'tout ce qui peut être long l’est : la plus grande identité',
    claims: {
      given_name: long('Maximilienne-Éléonore ', 256),
      given_name_array: Array.from({ length: 16 }, () => 'Maximilienne-Éléonore'),
      family_name: long('Montmorency-Châteauvieux ', 256),
      gender: 'unspecified',
      birthdate: '1969-12-31',
      birthplace: '75056',
      birthcountry: france,
      preferred_username: long('Vauquelin-Désgrées ', 256),
      email: `${'m'.repeat(64)}@${'courriel-'.repeat(6)}tres-long.${'domaine-'.repeat(6)}tres-long.example`,
      email_verified: true,
      phone_number: '+33 1 23 45 67 89 poste 123456',
      address: {
        formatted: long('Résidence des Très-Hautes-Futaies, bâtiment Île-de-Bréhat, ', 500),
        street_address: long('Résidence des Très-Hautes-Futaies, ', 180),
        postal_code: '75016',
        locality: long('Saint-Rémy-en-Bouzemont-', 60),
        region: 'Provence-Alpes-Côte d’Azur',
        country: 'France'
      }
    }
  }
]

/** The citizens who have an account at this provider. */
export const citizensAt = (provider: string) => citizens.filter(({ accounts }) => !accounts || accounts.includes(provider))

/** What this provider says of a citizen. */
export const claimsAt = (provider: string, citizen: Citizen): Claims => ({ ...citizen.claims, ...citizen.knownAs?.[provider] })
