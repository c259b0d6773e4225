// Reviewed by a native reader: no, not yet read by a native reader.
// Written with plain spaces: `say` puts the non-breaking ones that French wants.

import type { ErrorText, Notice } from '../../protocol/errors.ts'

/** French spacing before « : ; ? ! » and inside quotation marks: in our own words, never in what is put into them. */
function say (strings: TemplateStringsArray, ...values: string[]): string {
  const spaced = strings.map(string => string.replace(/ ([:;?!»])/g, '\u00a0$1').replace(/« /g, '«\u00a0'))
  return String.raw({ raw: spaced }, ...values)
}

/** `account` is `chooser.account`, or `chooser.chosenAccount` when no title is known: it opens a sentence. */
const notices: Record<Notice, { title: string, text: (account: string) => string }> = {
  provider_unavailable: {
    title: say`Ce compte n’a pas répondu`,
    text: account => say`${account} n’a pas répondu à temps. Rien n’est perdu : réessayez, ou choisissez un autre compte.`
  },
  provider_failed: {
    title: say`Ce compte ne fonctionne pas correctement`,
    text: account => say`${account} a répondu, mais pas comme il le devrait. Rien n’est perdu : réessayez dans un instant, ou choisissez un autre compte.`
  },
  provider_refused: {
    title: say`La connexion n’est pas allée au bout`,
    text: account => say`${account} n’a pas confirmé la connexion : vous l’avez annulée, ou elle a été refusée. Réessayez, ou choisissez un autre compte.`
  },
  provider_answer_invalid: {
    title: say`La réponse reçue n’a pas pu être vérifiée`,
    text: account => say`${account} a envoyé une réponse que nous n’avons pas pu vérifier. Pour vous protéger, nous ne l’avons pas utilisée. Réessayez, ou choisissez un autre compte.`
  },
  provider_code_spent: {
    title: say`Cette connexion a déjà servi`,
    text: () => say`Cela arrive quand une page est rechargée ou quand on clique deux fois. Choisissez de nouveau votre compte pour continuer.`
  },
  login_elsewhere: {
    title: say`Cette réponse appartient à un autre essai`,
    text: () => say`Un autre onglet est peut-être ouvert, ou vous avez utilisé le bouton « Précédent ». Continuez dans l’autre onglet, ou choisissez de nouveau un compte ici.`
  },
  login_expired: {
    title: say`Le temps pour se connecter est écoulé`,
    text: () => say`Pour votre sécurité, une connexion doit se terminer dans un temps limité. Votre demande est conservée : choisissez de nouveau votre compte.`
  },
  identity_expired: {
    title: say`La page d’information n’est plus valable`,
    text: () => say`Elle est restée ouverte trop longtemps, un autre onglet l’a remplacée, ou ce qu’elle montrait ne peut plus être lu. Aucune information n’a été envoyée depuis cette page. Choisissez de nouveau votre compte.`
  },
  acr_too_low: {
    title: say`Ce service demande une connexion plus sûre`,
    text: account => say`${account} n’a pas garanti le niveau de sécurité dont ce service a besoin. Choisissez un autre compte, ou un moyen plus sûr de vous y connecter.`
  },
  identity_incomplete: {
    title: say`Il manque des informations`,
    text: account => say`${account} n’a pas envoyé tout ce dont ce service a besoin pour vous reconnaître. Rien n’a été transmis. Complétez vos informations dans ce compte, ou choisissez un autre compte.`
  },
  authentication_too_old: {
    title: say`Il faut vous identifier de nouveau`,
    text: account => say`${account} a repris une connexion plus ancienne, alors que ce service en demande une nouvelle. Déconnectez-vous d’abord de ce compte, puis réessayez, ou choisissez un autre compte.`
  },
  fresh_login_unprovable: {
    title: say`Ce compte ne peut pas confirmer une nouvelle identification`,
    text: account => say`Ce service demande de vous identifier de nouveau, et ${account} ne peut pas le confirmer. Choisissez un autre compte.`
  },
  provider_maintenance: {
    title: say`Ce compte est en maintenance`,
    text: account => say`${account} est en maintenance et ne peut pas être utilisé pour le moment. Choisissez un autre compte, ou revenez plus tard.`
  },
  provider_not_allowed: {
    title: say`Ce compte n’est pas accepté ici`,
    text: account => say`${account} ne fait pas partie des comptes que ce service accepte. Choisissez un autre compte.`
  }
}

const errors: Record<ErrorText, { title: string, happened: string, todo: string }> = {
  service_mistake: {
    title: say`La demande du service n’est pas correcte`,
    happened: say`Le service d’où vous venez a envoyé à Passerelle une demande que nous ne pouvons pas accepter. Vous n’avez rien fait de mal.`,
    todo: say`Revenez au service et réessayez. Si le problème continue, signalez-le au service : lui seul peut le corriger.`
  },
  service_closed: {
    title: say`Ce service n’est pas ouvert ici`,
    happened: say`Le service d’où vous venez n’est pas, ou n’est plus, relié à Passerelle.`,
    todo: say`Revenez au service et cherchez une autre façon de vous connecter, ou demandez-lui pourquoi.`
  },
  login_lost: {
    title: say`Nous ne retrouvons pas votre connexion`,
    happened: say`Votre navigateur ne nous a pas rendu le cookie de cette connexion. Soit les cookies sont bloqués, soit vous avez changé de navigateur en chemin, soit la connexion a commencé il y a trop longtemps.`,
    todo: say`Retournez sur le site du service et recommencez. Restez dans le même navigateur et vérifiez que les cookies y sont acceptés.`
  },
  temporarily_unavailable: {
    title: say`Nous ne pouvons pas répondre pour le moment`,
    happened: say`Une partie de Passerelle ne répond pas. Cela ne vient pas de vous, et rien n’est perdu.`,
    todo: say`Attendez un moment, puis réessayez.`
  },
  provider_unknown: {
    title: say`Ce compte n’existe pas ici`,
    happened: say`Le compte demandé ne fait pas, ou ne fait plus, partie de ceux que Passerelle propose.`,
    todo: say`Revenez en arrière et choisissez un autre compte.`
  },
  forbidden_form: {
    title: say`Nous avons refusé ce formulaire`,
    happened: say`Ce formulaire a été envoyé depuis un autre site que Passerelle. Pour vous protéger, nous n’en avons pas tenu compte.`,
    todo: say`Recommencez depuis le service. Si un message vous a amené ici, n’y répondez pas.`
  },
  not_found: {
    title: say`Cette page n’existe pas`,
    happened: say`L’adresse est peut-être incomplète, ou la page a été déplacée.`,
    todo: say`On arrive sur Passerelle depuis un service. Retournez sur le site du service et commencez là.`
  },
  too_large: {
    title: say`La demande est trop longue`,
    happened: say`Votre navigateur a envoyé plus d’informations que nous ne pouvons en recevoir en une fois.`,
    todo: say`Recommencez depuis le service. Si le problème continue, effacez les cookies de Passerelle dans votre navigateur, ou signalez-le au service.`
  },
  logout_not_recorded: {
    title: say`Déconnexion faite ici, mais pas encore partout`,
    happened: say`Dans ce navigateur, votre session Passerelle est fermée. En revanche, nous n’avons pas pu l’enregistrer partout : certains services peuvent être encore ouverts à votre nom.`,
    todo: say`Réessayez dans un moment. En attendant, déconnectez-vous aussi dans chaque service que vous avez utilisé.`
  },
  logout_request_wrong: {
    title: say`La demande de déconnexion n’est pas correcte`,
    happened: say`Le service a demandé votre déconnexion, mais sa demande n’est pas valable : par exemple, l’adresse de retour n’est pas enregistrée chez nous. Vous n’avez rien fait de mal.`,
    todo: say`Si vous vouliez vous déconnecter, faites-le sur le site du service, puis fermez toutes les fenêtres du navigateur.`
  },
  unexpected: {
    title: say`Un imprévu est arrivé`,
    happened: say`Quelque chose s’est mal passé chez nous. Cela ne vient pas de vous.`,
    todo: say`Réessayez dans un moment. Si le problème continue, demandez de l’aide.`
  }
}

export const fr = {
  name: say`Français`,
  direction: 'ltr' as 'ltr' | 'rtl',
  footer: say`Passerelle vous relie aux services publics avec un compte que vous avez déjà.`,
  returnTo: (service: string) => say`Revenir à « ${service} »`,
  returnToService: say`Revenir au service`,

  chooser: {
    title: say`Choisir un compte`,
    heading: say`Avec quel compte voulez-vous continuer ?`,
    explanation: (service: string) => say`Pour entrer dans « ${service} », identifiez-vous avec un compte que vous avez déjà. Cela se passe sur le site de ce compte : Passerelle ne voit jamais votre mot de passe.`,
    accounts: say`Comptes proposés`,
    account: (title: string) => say`« ${title} »`,
    chosenAccount: say`Le compte choisi`,
    beta: say`À l’essai`,
    slow: say`Lent ou peu fiable en ce moment : il faudra peut-être attendre, ou réessayer.`,
    down: say`Ne répond pas en ce moment. Réessayez dans un instant.`,
    maintenance: say`En maintenance`,
    maintenanceDefault: say`Ce compte sera de retour plus tard.`,
    acr_too_low: say`Ne convient pas : ce service demande une connexion plus sûre.`,
    fresh_login_unprovable: say`Ne convient pas : ce service demande de vous identifier de nouveau, et ce compte ne peut pas le confirmer.`,
    not_allowed: say`Ce service n’accepte pas ce compte.`,
    retry: (account: string) => say`Réessayer : ${account}`,
    again: say`Vérifier à nouveau`,
    noneAnswers: say`Aucun compte ne répond en ce moment. Revenez dans quelques minutes : votre demande est conservée.`,
    noneUsable: say`Aucun compte ne peut être utilisé pour ce service en ce moment. Revenez plus tard, ou retournez au service pour chercher une autre façon d’entrer.`
  },
  notices,

  consent: {
    title: say`Vérifier ce qui sera envoyé`,
    heading: (service: string) => say`Ce que « ${service} » va recevoir`,
    from: (provider: string) => say`Vous avez utilisé « ${provider} ». Si vous continuez, Passerelle enverra ces informations :`,
    anonymous: (provider: string, service: string) => say`Vous avez utilisé « ${provider} ». Si vous continuez, « ${service} » ne saura pas qui vous êtes : aucune identité ne lui est envoyée, seulement un identifiant propre à ce service.`,
    besides: say`Sont envoyées aussi :`,
    identifier: say`Un identifiant propre à ce service les accompagne.`,
    agree: (service: string) => say`J’accepte que Passerelle envoie ces informations à « ${service} ».`,
    agreeAnonymous: (service: string) => say`J’accepte que Passerelle envoie cet identifiant à « ${service} ».`,
    missing: say`Cochez cette case pour continuer, ou choisissez « Refuser ».`,
    error: say`Erreur :`,
    continue: say`Continuer`,
    refuse: say`Refuser`,
    refusing: (service: string) => say`Si vous refusez, rien n’est envoyé et vous revenez à « ${service} ».`,
    choose: say`Utiliser un autre compte`
  },

  claims: {
    given_name: say`Prénoms`,
    given_name_array: say`Liste des prénoms`,
    middle_name: say`Autres prénoms`,
    family_name: say`Nom de naissance`,
    preferred_username: say`Nom d’usage`,
    name: say`Nom complet`,
    nickname: say`Surnom`,
    gender: say`Sexe`,
    birthdate: say`Date de naissance`,
    birthplace: say`Lieu de naissance`,
    birthcountry: say`Pays de naissance`,
    email: say`Adresse électronique`,
    email_verified: say`Adresse électronique vérifiée`,
    phone_number: say`Téléphone`,
    phone_number_verified: say`Téléphone vérifié`,
    address: say`Adresse postale`,
    picture: say`Adresse de votre photo`,
    profile: say`Page de profil`,
    website: say`Site web`,
    locale: say`Langue`,
    zoneinfo: say`Fuseau horaire`,
    updated_at: say`Informations mises à jour le`,
    idp_id: say`Compte utilisé`,
    acr: say`Niveau de sécurité`,
    amr: say`Moyen de connexion`,
    auth_time: say`Date de connexion`,
    sub: say`Identifiant propre à ce service`
  },
  values: {
    yes: say`Oui`,
    no: say`Non`,
    gender: { female: say`Féminin`, male: say`Masculin`, unspecified: say`Non précisé` },
    france: say`France`,
    inseeCode: (code: string) => say`${code} (code Insee)`,
    date: (date: Date) => longDate.format(date).replace(/^1 /, '1er '),
    monthOnly: (date: Date) => say`${month.format(date)} (jour inconnu)`,
    yearOnly: (year: string) => say`${year} (jour et mois inconnus)`,
    amr: {
      pwd: say`mot de passe`,
      pin: say`code secret`,
      otp: say`code à usage unique`,
      sms: say`code reçu par SMS`,
      tel: say`appel téléphonique`,
      hwk: say`clé de sécurité`,
      swk: say`clé logicielle`,
      sc: say`carte à puce`,
      face: say`reconnaissance du visage`,
      fpt: say`empreinte digitale`,
      mfa: say`plusieurs facteurs`
    }
  },

  errors,
  error: {
    whatToDo: say`Que faire ?`,
    retry: say`Réessayer`,
    wayOn: say`Vous pouvez fermer cette page et retourner sur le site du service.`,
    support: say`Besoin d’aide ?`,
    supportHow: say`Donnez ces deux informations à l’assistance : elles mènent à la cause, sans rien dire de vous.`,
    code: say`Code`,
    id: say`Numéro`
  },

  busy: {
    heading: say`Il y a trop de monde en ce moment`,
    explanation: say`Passerelle reçoit plus de demandes qu’elle ne peut en traiter à la fois. Vous n’y êtes pour rien, et rien n’est perdu.`,
    byItself: say`Vous n’avez rien à faire : cette page réessaie toute seule dans quelques secondes.`,
    notTaken: say`Ce que vous venez d’envoyer n’a pas été pris en compte. Attendez quelques secondes, revenez en arrière avec votre navigateur et appuyez de nouveau sur le bouton.`
  },

  logOut: {
    heading: say`Voulez-vous vous déconnecter ?`,
    asked: (service: string) => say`« ${service} » demande votre déconnexion.`,
    effect: say`Votre session Passerelle sera fermée dans ce navigateur. Les services que vous avez ouverts avec elle peuvent le rester : déconnectez-vous-y aussi. Votre compte et vos démarches ne sont pas touchés.`,
    logOut: say`Me déconnecter`,
    stay: say`Ne pas me déconnecter`
  },
  loggedOut: {
    heading: say`Votre session est fermée`,
    done: say`Passerelle ne vous reconnaît plus dans ce navigateur.`,
    remaining: say`Ces services peuvent être encore ouverts à votre nom. Pensez à vous y déconnecter aussi :`,
    shared: say`Si d’autres personnes utilisent cet appareil, fermez toutes les fenêtres du navigateur.`
  },
  goOn: {
    heading: (service: string) => say`Retour vers « ${service} »`,
    explanation: say`Si la page suivante ne s’affiche pas toute seule, utilisez le bouton.`,
    button: say`Continuer`
  },

  finished: {
    heading: say`Cette connexion est déjà terminée`,
    explanation: (service: string) => say`Vous êtes revenu à une page que vous aviez déjà passée : la réponse est partie vers « ${service} ». Il n’y a plus rien à faire ici.`,
  }
}

const longDate = new Intl.DateTimeFormat('fr', { dateStyle: 'long', timeZone: 'UTC' })
const month = new Intl.DateTimeFormat('fr', { month: 'long', year: 'numeric', timeZone: 'UTC' })
