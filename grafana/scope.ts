/** What an expression looks at; the names of labels and text in quotes are not among it. */
const selector = /("[^"]*")|\b(passerelle_\w+|passerelle:[\w:]+|up|process_\w+|nodejs_\w+)\b(?:\{([^}]*)\})?/g

/**
 * An expression that sees only the environment and the sites that the dashboard is at. Rules sum over the sites: of them the environment alone is asked.
 * What every Node.js has is asked of our own job.
 */
export const scoped = (expr: string) => expr.replace(selector, (whole, quoted: string | undefined, name: string, matchers = '') => {
  if (quoted !== undefined) return whole
  const scope = ['environment=~"$environment"', ...name.includes(':') ? [] : ['site=~"$site"'], ...name.startsWith('passerelle') ? [] : ['job="passerelle"']]
  return `${name}{${[...scope, ...matchers === '' ? [] : [matchers]].join(', ')}}`
})

/** What a counter grew by that begins with the first of its kind: where it was not there before, all that it counted is new, also at a replica that is gone by now. */
export const grown = (selector: string, window: string) => `((increase(${selector}[${window}]) and ${selector} offset ${window}) or (max_over_time(${selector}[${window}]) unless ${selector} offset ${window}))`
