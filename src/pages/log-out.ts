import { html } from './html.ts'
import { emblem, layout, type PageContext, type Party } from './layout.ts'
import { messages } from './messages.ts'

export interface LogOut {
  /** The service that asks for the logout, when it is known. */
  client?: Party
  action: string
  /** Hidden inputs of the form. */
  fields: Record<string, string>
}

/** The page that asks the citizen to confirm a logout (OpenID Connect RP-Initiated Logout §2). */
export function logOutPage (context: PageContext, data: LogOut): string {
  const { logOut: text } = messages[context.language]
  const { client } = data

  return layout(context, [text.heading, client?.title], html`
${client && html`<p class="party">${emblem(client)}<bdi>${client.title}</bdi></p>`}
<h1>${text.heading}</h1>
<p>${client && text.asked(client.title)} ${text.effect}</p>
<form method="post" action="${data.action}">
${Object.entries(data.fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">\n`)}
<p class="actions">
<button class="main" id="log-out" name="decision" value="log-out">${text.logOut}</button>
${client && html`<button id="stay" name="decision" value="stay">${text.stay}</button>`}
</p>
</form>`)
}
