import type { Notice } from '../protocol/errors.ts'
import { html, type Html } from './html.ts'
import { emblem, layout, type PageContext, type Party } from './layout.ts'
import { messages, type Messages } from './messages.ts'

export interface ProviderCard extends Party {
  id: string
  href: string
  state: 'up' | 'beta' | 'slow' | 'down' | 'maintenance' | 'acr_too_low' | 'fresh_login_unprovable' | 'not_allowed'
  /** The operator's own words, shown in every state. */
  message?: string
}

export interface Chooser {
  client: Party
  providers: ProviderCard[]
  /** `provider` is the title of the one that the banner speaks of, `retryHref` the way there again, where it is open. */
  notice?: { code: Notice, provider?: string, retryHref?: string }
  /** This page as it stands now. */
  againHref: string
  returnHref: string
}

/** The page where the citizen picks an account. */
export function chooserPage (context: PageContext, data: Chooser): string {
  const text = messages[context.language]
  const banner = data.notice && text.notices[data.notice.code]
  const account = data.notice?.provider ? text.chooser.account(data.notice.provider) : text.chooser.chosenAccount
  const states = data.providers.map(provider => provider.state)
  const none = states.some(state => open.has(state))
    ? undefined
    : states.includes('down') ? text.chooser.noneAnswers : text.chooser.noneUsable

  return layout(context, [banner?.title, text.chooser.title, data.client.title], html`
<p class="party">${emblem(data.client)}<bdi>${data.client.title}</bdi></p>
<h1>${text.chooser.heading}</h1>
${banner && html`<div class="notice" id="notice" role="alert" data-code="${data.notice?.code}">
<h2>${banner.title}</h2>
<p>${banner.text(account)}</p>
${data.notice?.retryHref !== undefined && html`<p><a class="plain" id="retry" href="${data.notice.retryHref}">${text.chooser.retry(account)}</a></p>`}
</div>`}
<p>${text.chooser.explanation(data.client.title)}</p>
${none !== undefined && html`<div class="notice" id="none">
<p>${none}</p>
<p><a class="plain" id="again" href="${data.againHref}">${text.chooser.again}</a></p>
</div>`}
<ul class="providers" role="list" aria-label="${text.chooser.accounts}">
${data.providers.map(provider => card(text, provider))}</ul>
<p><a class="plain" id="return" href="${data.returnHref}">${text.returnTo(data.client.title)}</a></p>`)
}

const open: ReadonlySet<ProviderCard['state']> = new Set(['up', 'beta', 'slow'])

function card (text: Messages, provider: ProviderCard): Html {
  const content = html`${emblem(provider)}<span><b><bdi>${provider.title}</bdi></b>${stateInWords(text, provider)}</span>`

  switch (provider.state) {
    case 'up':
    case 'beta':
      return html`<li><a class="provider" id="idp-${provider.id}" href="${provider.href}">${content}</a></li>\n`
    case 'slow':
    case 'down':
      return html`<li><a class="provider doubtful" id="idp-${provider.id}" href="${provider.href}">${content}</a></li>\n`
    default:
      return html`<li><div class="provider closed" id="idp-${provider.id}">${content}</div></li>\n`
  }
}

function stateInWords (text: Messages, { state, message }: ProviderCard): Html {
  const badge = state === 'beta' || state === 'maintenance' ? text.chooser[state] : undefined
  const reason = state === 'up' || badge !== undefined ? undefined : text.chooser[state]
  const words = message || (state === 'maintenance' ? text.chooser.maintenanceDefault : undefined)
  return html`${badge && html` <i>${badge}</i>`}${reason && html` <small>${reason}</small>`}${words && html` <small><bdi>${words}</bdi></small>`}`
}
