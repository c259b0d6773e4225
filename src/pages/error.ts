import type { ErrorText } from '../protocol/errors.ts'
import { html } from './html.ts'
import { layout, type PageContext } from './layout.ts'
import { messages } from './messages.ts'

export interface ErrorData {
  /** For the help desk: what it was, and which one it was. */
  code: string
  id: string
  text: ErrorText
  retryHref?: string
  back?: { href: string, title?: string }
}

/** The page that says what happened, what to do, and what to tell support. */
export function errorPage (context: PageContext, data: ErrorData): string {
  const { errors, error, returnTo, returnToService } = messages[context.language]
  const text = errors[data.text]
  const { retryHref, back } = data

  return layout(context, [text.title], html`
<h1>${text.title}</h1>
<p>${text.happened}</p>
<h2>${error.whatToDo}</h2>
<p>${text.todo}</p>
${retryHref === undefined && back === undefined
  ? html`<p>${error.wayOn}</p>`
  : html`<p class="actions">
${retryHref !== undefined && html`<a class="button main" id="retry" href="${retryHref}">${error.retry}</a>`}
${back && html`<a class="button${retryHref === undefined && ' main'}" id="return" href="${back.href}">${back.title ? returnTo(back.title) : returnToService}</a>`}
</p>`}
<section class="support" aria-labelledby="support">
<h2 id="support">${error.support}</h2>
<p>${error.supportHow}</p>
<dl>
<div><dt>${error.code}</dt><dd id="error-code" translate="no">${data.code}</dd></div>
<div><dt>${error.id}</dt><dd id="error-id" translate="no">${data.id}</dd></div>
</dl>
</section>`)
}
