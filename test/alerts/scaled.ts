import { parse, stringify } from 'yaml'

/** What PromQL and rule files are made of, as far as a duration must not be looked for inside it: text in quotes, a remark, a name (`increase5m`), a number. */
const token = /"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|#.*|[a-zA-Z_][\w:]*|(?<duration>(?:\d+(?:ms|[smhdwy]))+)(?![\w.])|\d[\w.]*(?:(?<=[eE])[+-]\d+)?/g
const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000, y: 31_536_000_000 }

/** A duration of Prometheus, so many times shorter. */
export function scaledDuration (duration: string, factor: number) {
  const whole = [...duration.matchAll(/(\d+)(ms|[smhdwy])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * milliseconds[unit as keyof typeof milliseconds], 0)
  return `${Math.round(whole / factor)}ms`
}

/** An expression whose ranges and offsets are so many times shorter, and in which nothing else is other than it was. */
export const scaledExpression = (expr: string, factor: number) =>
  expr.replace(token, (text, ...rest) => (rest.at(-1) as { duration?: string }).duration === undefined ? text : scaledDuration(text, factor))

interface Rules { groups: Array<{ interval?: string, rules: Array<{ expr: string, for?: string, keep_firing_for?: string }> }> }

/** A file of rules in which all time goes by so many times faster. Thresholds of values are as they were, those that are seconds too. */
export function scaledRules (text: string, factor: number) {
  const { groups, ...rest } = parse(text) as Rules
  const scaled = <Key extends string>(of: Partial<Record<Key, string>>, ...keys: Key[]) => Object.fromEntries(keys.flatMap(key => of[key] === undefined ? [] : [[key, scaledDuration(of[key], factor)]]))
  return stringify({
    ...rest,
    groups: groups.map(group => ({
      ...group,
      ...scaled(group, 'interval'),
      rules: group.rules.map(rule => ({ ...rule, expr: scaledExpression(rule.expr, factor), ...scaled(rule, 'for', 'keep_firing_for') }))
    }))
  })
}
