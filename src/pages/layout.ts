import { html, type Html, type Piece } from './html.ts'
import { messages } from './messages.ts'

export type Language = 'fr' | 'en'

/** What every page has to know about where it is shown. */
export interface PageContext {
  language: Language
  /** Path prefix, '' or '/api/v2': put before every path of our own. */
  base: string
  /** Full path of the style sheet. */
  stylesheet: string
  /** Full path of the picture beside the name Passerelle; absent: the name alone. */
  mark?: string
  /** The same page in the other language; absent: no switch is drawn. */
  switchHref?: string
}

/** A service or an identity provider, as the citizen knows it; `logo` is the path of an image. */
export interface Party { title: string, logo?: string }

/** The document around a page: header with the language switch, main content, footer. `title` is its list of parts, the nearest first. */
export function layout (context: PageContext, title: Piece[], main: Html): string {
  const text = messages[context.language]
  const other = context.language === 'fr' ? 'en' : 'fr'
  const parts = [...title, 'Passerelle'].filter(part => part !== undefined && part !== false && part !== '')

  return html`<!doctype html>
<html lang="${context.language}" dir="${text.direction}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>${parts.map((part, i) => [i > 0 && ' – ', part])}</title>
<link rel="stylesheet" href="${context.stylesheet}">
${context.mark !== undefined && html`<link rel="icon" type="image/svg+xml" href="${context.mark}">`}
</head>
<body>
<header>
<p class="brand">${context.mark !== undefined && html`<img src="${context.mark}" alt="" width="40" height="40">`}<span translate="no">Passerelle</span></p>
${context.switchHref !== undefined && html`<a class="plain" id="language" href="${context.switchHref}" lang="${other}" hreflang="${other}">${messages[other].name}</a>`}
</header>
<main>
${main}
</main>
<footer>
<p>${text.footer}</p>
</footer>
</body>
</html>
`.toString()
}

/** The logo of a party, or the first letter of its title; decoration, since the title always stands beside it. */
export function emblem (party: Party): Html {
  return party.logo === undefined
    ? html`<span class="emblem" aria-hidden="true">${[...party.title.trim()][0]?.toUpperCase()}</span>`
    : html`<span class="emblem"><img src="${party.logo}" alt="" width="40" height="40"></span>`
}
