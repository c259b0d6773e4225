import { html } from './html.ts'
import { emblem, layout, type PageContext, type Party } from './layout.ts'
import { messages } from './messages.ts'

export interface Finished { client: Party, backHref: string }

/** The page for a citizen who came back, by the back button, to a login that is complete. */
export function finishedPage (context: PageContext, data: Finished): string {
  const { finished: text, returnTo } = messages[context.language]

  return layout(context, [text.heading, data.client.title], html`
<p class="party">${emblem(data.client)}<bdi>${data.client.title}</bdi></p>
<h1>${text.heading}</h1>
<p>${text.explanation(data.client.title)}</p>
<p class="actions">
<a class="button main" id="return" href="${data.backHref}">${returnTo(data.client.title)}</a>
</p>`)
}
