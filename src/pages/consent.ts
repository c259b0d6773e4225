import { html, type Html } from './html.ts'
import { emblem, layout, type PageContext, type Party } from './layout.ts'
import { messages, type Messages } from './messages.ts'

export interface Consent {
  client: Party
  provider: Party
  /** What will be sent, as it will be sent. */
  claims: Record<string, unknown>
  /** Nobody is named by what is sent. */
  anonymous: boolean
  consentRequired: boolean
  /** The form came without the box ticked. */
  missingConsent: boolean
  /** Which login the form speaks of. */
  login: string
  /** So that the way back to the service is known even where the login is lost. */
  client_id: string
  chooseHref: string
}

/** The page where the citizen reads what will be sent to whom, and agrees or refuses. It hides nothing that `claims` holds. */
export function consentPage (context: PageContext, data: Consent): string {
  const text = messages[context.language].consent
  const client = data.client.title
  const rows = claimRows(messages[context.language], data.claims, data.provider)
  const nameless = data.anonymous || rows.length === 0

  return layout(context, [data.missingConsent && `${text.error} ${text.title}`, !data.missingConsent && text.title, client], html`
<div class="crossing">
<p>${emblem(data.provider)}<bdi>${data.provider.title}</bdi></p><span class="bridge"></span><p>${emblem(data.client)}<bdi>${client}</bdi></p>
</div>
<h1>${text.heading(client)}</h1>
<p>${nameless ? text.anonymous(data.provider.title, client) : text.from(data.provider.title)}</p>
${nameless && rows.length > 0 && html`<p>${text.besides}</p>`}
${rows.length > 0 && html`<dl class="claims">
${rows}</dl>`}
${!nameless && html`<p class="quiet">${text.identifier}</p>`}
<form method="post" action="${context.base}/consent">
<input type="hidden" name="login" value="${data.login}">
<input type="hidden" name="client" value="${data.client_id}">
${data.consentRequired && checkbox(context, data, rows.length > 0)}
<p class="actions">
<button class="main" id="continue" name="decision" value="continue">${text.continue}</button>
<button id="refuse" name="decision" value="refuse" aria-describedby="refusing">${text.refuse}</button>
</p>
<p class="quiet" id="refusing">${text.refusing(client)}</p>
</form>
<p><a class="plain" id="choose" href="${data.chooseHref}">${text.choose}</a></p>`)
}

function checkbox (context: PageContext, data: Consent, informed: boolean): Html {
  const text = messages[context.language].consent
  const label = informed ? text.agree(data.client.title) : text.agreeAnonymous(data.client.title)

  return data.missingConsent
    ? html`<div class="agree wrong">
<p class="error" id="consent-error"><b>${text.error}</b> ${text.missing}</p>
<p><input type="checkbox" id="consent" name="consent" value="yes" aria-invalid="true" aria-describedby="consent-error" autofocus><label for="consent">${label}</label></p>
</div>`
    : html`<div class="agree">
<p><input type="checkbox" id="consent" name="consent" value="yes"><label for="consent">${label}</label></p>
</div>`
}

/** One row a claim: those we know in our order, the others after them under their own name. */
function claimRows (text: Messages, claims: Record<string, unknown>, provider: Party): Html[] {
  const known = Object.keys(text.claims).filter(name => Object.hasOwn(claims, name))
  const unknown = Object.keys(claims).filter(name => !Object.hasOwn(text.claims, name))

  return [...known, ...unknown].flatMap(name => {
    if (name === 'given_name_array' && saysTheSame(claims[name], claims.given_name)) return []
    const value = name === 'idp_id' ? provider.title : claimInWords(text, name, claims[name])
    if (value === '') return []
    const label = Object.hasOwn(text.claims, name) ? text.claims[name as keyof Messages['claims']] : name
    return [html`<div data-claim="${name}"><dt>${label}</dt><dd><bdi>${value}</bdi></dd></div>\n`]
  })
}

function saysTheSame (names: unknown, name: unknown): boolean {
  const words = (value: unknown) => String(value).split(/[\s,]+/).filter(Boolean).join(' ').toLowerCase()
  return Array.isArray(names) && typeof name === 'string' && words(names) === words(name)
}

function claimInWords (text: Messages, name: string, value: unknown): string {
  const { values } = text
  switch (name) {
    case 'gender': return wordFor(values.gender, value)
    case 'birthdate': return dateInWords(text, value)
    case 'birthcountry': return value === '99100' ? values.france : placeInWords(text, value)
    case 'birthplace': return placeInWords(text, value)
    case 'address': return addressInWords(text, value)
    case 'amr': return [value].flat().map(method => wordFor(values.amr, method)).filter(Boolean).join(', ')
    case 'updated_at':
    case 'auth_time': return momentInWords(text, value)
    default: return inWords(text, value)
  }

  function wordFor (words: Record<string, string>, value: unknown): string {
    return typeof value === 'string' && Object.hasOwn(words, value) ? words[value]! : inWords(text, value)
  }
}

/** A date, or what is known of it: `YYYY-MM-00` and `YYYY-00-00` are presumed birthdates. */
function dateInWords (text: Messages, value: unknown): string {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(String(value)) ?? []
  if (year === undefined || year === '0000') return inWords(text, value)
  if (month === '00' && day === '00') return text.values.yearOnly(year)

  const iso = `${year}-${month}-${day === '00' ? '01' : day}`
  const date = new Date(`${iso}T00:00:00Z`)
  if (Number.isNaN(date.getTime()) || !date.toISOString().startsWith(iso)) return inWords(text, value)
  return day === '00' ? text.values.monthOnly(date) : text.values.date(date)
}

function momentInWords (text: Messages, value: unknown): string {
  const date = new Date(Number(value) * 1000)
  return typeof value === 'number' && !Number.isNaN(date.getTime()) ? text.values.date(date) : inWords(text, value)
}

function placeInWords (text: Messages, value: unknown): string {
  const isInseeCode = typeof value === 'string' && /^(\d\d|2[AB])\d{3}$/.test(value)
  return isInseeCode ? text.values.inseeCode(value) : inWords(text, value)
}

/** The address as one would write it on an envelope (OpenID Connect Core §5.1.1). */
function addressInWords (text: Messages, value: unknown): string {
  if (typeof value !== 'object' || value === null) return inWords(text, value)
  const { formatted, street_address: street, postal_code: postalCode, locality, region, country, ...others } = value as Record<string, unknown>
  const parts = [street, [postalCode, locality].map(part => inWords(text, part)).filter(Boolean).join(' '), region, country]
  const lines = formatted ? [formatted] : parts
  return [...lines, ...Object.values(others)].map(part => inWords(text, part)).filter(Boolean).join('\n')
}

function inWords (text: Messages, value: unknown): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'boolean') return value ? text.values.yes : text.values.no
  if (Array.isArray(value)) return value.map(item => inWords(text, item)).filter(Boolean).join(', ')
  if (typeof value === 'object') {
    return Object.entries(value).map(([name, item]) => `${name} = ${inWords(text, item)}`).join('\n')
  }
  return String(value).trim()
}
