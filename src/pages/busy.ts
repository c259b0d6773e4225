import { html } from './html.ts'
import { layout, type PageContext } from './layout.ts'
import { messages } from './messages.ts'

export interface Busy {
  /** for the help desk */
  code: string
  /** whether the page asks again by itself: never what was posted */
  byItself: boolean
}

/** The page for those who come while there are too many: it is the same for all of them, so it names nothing of the request, and leads to the very address it is at. */
export function busyPage (context: PageContext, { code, byItself }: Busy): string {
  const { busy: text, error } = messages[context.language]

  return layout(context, [text.heading], html`
<h1>${text.heading}</h1>
<p>${text.explanation}</p>
${byItself
  ? html`<p id="by-itself">${text.byItself}</p>
<p class="actions"><a class="button main" id="retry" href="">${error.retry}</a></p>`
  : html`<p id="not-taken">${text.notTaken}</p>`}
<section class="support" aria-labelledby="support">
<h2 id="support">${error.support}</h2>
<dl>
<div><dt>${error.code}</dt><dd id="error-code" translate="no">${code}</dd></div>
</dl>
</section>`)
}
