import { html } from './html.ts'
import { layout, type PageContext } from './layout.ts'
import { messages } from './messages.ts'

export interface LoggedOut {
  /** Titles of the services where the citizen may still be signed in. */
  clients: string[]
  back?: { href: string, title?: string }
}

/** The page after a logout: what is closed, and what may still be open. */
export function loggedOutPage (context: PageContext, data: LoggedOut): string {
  const { loggedOut: text, returnTo, returnToService } = messages[context.language]
  const { clients, back } = data

  return layout(context, [text.heading], html`
<h1>${text.heading}</h1>
<p>${text.done}</p>
${clients.length > 0 && html`<div class="notice" id="remaining">
<p>${text.remaining}</p>
<ul>${clients.map(title => html`<li><bdi>${title}</bdi></li>`)}</ul>
</div>`}
<p>${text.shared}</p>
${back && html`<p class="actions"><a class="button main" id="return" href="${back.href}">${back.title ? returnTo(back.title) : returnToService}</a></p>`}`)
}
