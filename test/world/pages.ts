/** HTML that is safe to put in a page. */
export interface Html { html: string }
type Part = string | number | undefined | false | Html | Html[]

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const part = (value: Part): string => {
  if (value === undefined || value === false) return ''
  if (Array.isArray(value)) return value.map(part).join('\n')
  return typeof value === 'object' ? value.html : String(value).replace(/[&<>"']/g, character => entities[character]!)
}

/** A template whose values are escaped unless they are templates themselves. */
export const html = (strings: TemplateStringsArray, ...values: Part[]): Html => ({ html: String.raw({ raw: strings }, ...values.map(part)) })

const style = `
  * { box-sizing: border-box }
  body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; background: color-mix(in srgb, var(--colour) 6%, white); color: #1c1f24; font: 1.05rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif }
  header { background: white; border-bottom: 3px solid var(--colour) }
  header div { max-width: var(--width); margin: auto; padding: .8rem 1.25rem; display: flex; align-items: center; gap: .9rem; font-weight: 650; font-size: 1.15rem }
  header img { height: 2.75rem; width: 2.75rem }
  main { width: 100%; max-width: var(--width); margin: 2.25rem auto; padding: 0 1.25rem; flex: 1 }
  section { background: white; border-radius: .75rem; padding: 1.5rem 1.75rem; margin-bottom: 1.25rem; box-shadow: 0 1px 3px rgb(0 0 0 / 12%) }
  h1 { margin: 0 0 .75rem; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere }
  h2 { margin: 0 0 .6rem; font-size: 1.1rem }
  p { margin: .5rem 0 }
  label { display: block; margin: 1rem 0 .3rem; font-weight: 600 }
  input { width: 100%; font: inherit; padding: .6rem .75rem; border: 1px solid #7b8190; border-radius: .4rem }
  button { font: inherit; font-weight: 650; padding: .7rem 1.4rem; border: 0; border-radius: .4rem; background: var(--colour); color: white; cursor: pointer }
  button:hover { background: color-mix(in srgb, var(--colour) 85%, black) }
  :focus-visible { outline: 3px solid color-mix(in srgb, var(--colour) 55%, white); outline-offset: 2px }
  a { color: var(--colour) }
  .actions { display: flex; flex-wrap: wrap; align-items: center; gap: 1.25rem; margin-top: 1.4rem }
  [role=alert] { border-left: .3rem solid #b3261e; background: #fdecea; padding: .7rem .9rem; border-radius: .3rem }
  table { width: 100%; border-collapse: collapse; font-size: .92rem }
  th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-top: 1px solid #e3e5ea }
  code { font: .92em ui-monospace, "Cascadia Mono", Menlo, monospace; overflow-wrap: anywhere }
  td code { white-space: nowrap }
  dl { display: grid; grid-template-columns: minmax(8rem, 12rem) 1fr; gap: .35rem 1rem; margin: 0 }
  dt { color: #565c69 }
  dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line }
  @media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .6rem } }
  .quiet, footer { color: #565c69; font-size: .92rem }
  footer { text-align: center; padding: 1rem 1.25rem 1.5rem }
`

/** A whole page of one party of the world. */
export const page = ({ party, title, colour, width, body }: { party: string, title: string, colour: string, width?: string, body: Html }) => html`<!doctype html>
<html lang="fr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · ${party}</title>
<link rel="icon" href="/logo.svg">
<style>:root { --colour: ${colour}; --width: ${width ?? '34rem'} }${{ html: style }}</style>
</head>
<body>
<header><div><img src="/logo.svg" alt="">${party}</div></header>
<main>
${body}
</main>
<footer>Bac à sable : ${party} n’existe pas, et ses usagers non plus.</footer>
</body>
</html>
`.html
