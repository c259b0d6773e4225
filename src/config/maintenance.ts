import { instantIn } from '../protocol/clock.ts'
import type { IdentityProvider } from './load.ts'

/** Whether citizens are told now that an identity provider is under maintenance: by its state, or between the dates whatever the state. `now` is a NumericDate, seconds. */
export function isMaintained ({ state, maintenance: { from, until } = {} }: Pick<IdentityProvider, 'state' | 'maintenance'>, now: number) {
  const begun = state === 'maintenance' || (from === undefined ? until !== undefined : instantIn(from) <= now)
  return begun && (until === undefined || instantIn(until) > now)
}
