import { html } from './html.ts'
import { emblem, layout, type PageContext, type Party } from './layout.ts'
import { messages } from './messages.ts'

export interface Continue {
  client: Party
  /** where the form goes, and what it carries */
  action: string
  fields: Record<string, string>
  /** path of the script that submits it */
  script: string
}

/** The page that takes an answer back to the service by a form (OAuth 2.0 Form Post Response Mode §2): by itself, or by its button. */
export function continuePage (context: PageContext, data: Continue): string {
  const { goOn: text } = messages[context.language]

  return layout(context, [text.heading(data.client.title)], html`
<p class="party">${emblem(data.client)}<bdi>${data.client.title}</bdi></p>
<h1>${text.heading(data.client.title)}</h1>
<p>${text.explanation}</p>
<form method="post" action="${data.action}">
${Object.entries(data.fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)}
<p class="actions"><button class="button main" id="continue">${text.button}</button></p>
</form>
<script src="${data.script}"></script>`)
}
