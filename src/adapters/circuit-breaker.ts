import CircuitBreaker from 'opossum'
import { setTimeout as pause } from 'node:timers/promises'
import { OAuthError, unanswered } from '../protocol/errors.ts'
import type { IdentityProvider, ProviderWatch, Standing, Upstream } from '../ports.ts'
import { inTime } from './in-time.ts'
import { jittered } from './jittered.ts'

export interface BreakerOptions {
  name: string
  /** share of the last callbacks that failed, at which it opens */
  error_percent: number
  /** how many last callbacks are looked at for that */
  volume: number
  /** callbacks older than this are forgotten, in milliseconds */
  window_ms: number
  /** pause before it is asked whether it answers again; twice as long when it has just been trusted in vain */
  reset_ms: number
  /** without any callback for so long it is asked whether it answers, sooner where citizens were sent there meanwhile; 0 for never */
  probe_ms: number
  /** a usual callback that takes longer is called slow */
  slow_ms: number
  /** what an operator said */
  forced?: 'open' | 'closed' | undefined
  watch: Pick<ProviderWatch, 'breaker'>
}

/** An identity provider behind its breaker. */
export type Guarded<P extends Upstream> = P & IdentityProvider & {
  /** Asks whether it answers, unless that was just done. */
  check (): void
  /** Somebody else could not reach it: asks it, and is quicker to believe it for a while. */
  suspect (): void
  /** Nobody is sent there any more: it is asked nothing of our own accord, and whoever is there still comes back. */
  rest (): void
}

/** The calls in a row without any answer that are enough, and how long a doubt makes them so. */
const enoughUnanswered = 2
const suspicionMs = 10_000
/** The failures of whatever kind in a row that are enough, if they last so long: few come to a provider that few use. */
const enoughInARow = 5
const leastRowMs = 10_000
/** how many callbacks decide while it is on trial, or a suspect */
const doubtedVolume = 5
/** how many probes in a row that say little keep it open */
const mostInconclusive = 6
const betweenChecksMs = 5000
/** how soon it is asked again when it did not answer */
const askAgainMs = 1200
/** how long citizens may be there before it is asked after them, and how often that is looked at */
const soonMs = 3000
const tickMs = 500
const logoutPatienceMs = 500
const weightOfNewest = 0.3
const unsteadyPercent = 20

const isOutage = (error: unknown) => !(error instanceof OAuthError) || error.row.outage === true
const isUnanswered = (error: unknown) => error instanceof OAuthError && unanswered.has(error.failure)

interface Ended { at: number, /** of which login */ state: string, failed: boolean, answered: boolean }
const failedPercent = (calls: Ended[]) => 100 * calls.filter(({ failed }) => failed).length / calls.length

/**
 * A circuit breaker around one identity provider. It counts outages only, never a citizen's refusal nor what a browser brought, and a login once. It gates leaving only: a
 * citizen who comes back is always heard. A probe of our own closes it, or a citizen who was there already and comes back well.
 */
export function guarded<P extends Upstream> (provider: P, { name, error_percent, volume, window_ms, reset_ms, probe_ms, slow_ms, forced, watch }: BreakerOptions): Guarded<P> {
  // opossum keeps the state and the time until the next trial, and nothing else: it would count calls that began, and judge those of another state
  const settings = { name, timeout: false as const, resetTimeout: jittered(reset_ms), errorThresholdPercentage: Infinity, rollingPercentilesEnabled: false }
  const breaker = new CircuitBreaker<[() => Promise<void>], void>(async trial => trial(), settings)
  /** callbacks that ended, and probes that were not answered, since it opened or closed */
  let ended: Ended[] = []
  let usual: { ms: number, at: number } | undefined
  let heardAt = performance.now()
  let sentAt = -Infinity
  let checkedAt = -Infinity
  let suspectUntil = -Infinity
  let trialUntil = -Infinity
  let inconclusive = 0
  let closings = 0
  let rests = false

  const onTrial = () => performance.now() < trialUntil
  const recent = () => ended.filter(({ at }) => performance.now() - at < window_ms)
  watch.breaker(forced === undefined ? 'closed' : `forced_${forced}`)
  breaker.on('open', () => watch.breaker('open'))                      // also after each trial in vain
  breaker.on('halfOpen', () => {
    if (rests) return
    watch.breaker('half_open')
    settings.resetTimeout = jittered(reset_ms)
    breaker.fire(trial).catch(() => {})
  })
  breaker.on('close', () => {
    ended = []
    usual = undefined
    closings++
    trialUntil = performance.now() + window_ms
    watch.breaker('closed')
  })
  // where citizens were sent and nobody has come back, they may be stuck there
  const patienceMs = () => sentAt > heardAt ? Math.min(probe_ms, soonMs) : probe_ms
  const patrol = probe_ms === 0 || forced !== undefined
    ? undefined
    : setInterval(() => { if (performance.now() - heardAt >= patienceMs()) check() }, jittered(Math.min(probe_ms, tickMs))).unref()

  /** A callback has ended, or a probe was not answered: whether it is time to open. */
  function heard (call: Omit<Ended, 'at'>) {
    const at = heardAt = performance.now()
    if (call.failed && call.state !== '' && ended.some(({ state, failed }) => failed && state === call.state)) return check()
    ended = [...ended, { at, ...call }].slice(-Math.max(volume, enoughInARow))
    if (!call.failed || !breaker.closed) return
    if (isDown(at)) open()
    else if (!call.answered) check()
  }

  function open () {
    settings.resetTimeout = jittered(onTrial() ? 2 * reset_ms : reset_ms)
    ended = []
    inconclusive = 0
    breaker.open()
  }

  function isDown (now: number) {
    const row = ended.slice(ended.findLastIndex(({ failed }) => !failed) + 1)
    const silent = row.length - 1 - row.findLastIndex(({ answered }) => answered)
    if (silent >= (onTrial() ? 1 : now < suspectUntil ? enoughUnanswered : Infinity)) return true
    if (row.length >= enoughInARow && now - row[0]!.at >= leastRowMs) return true
    const most = onTrial() || now < suspectUntil ? Math.min(doubtedVolume, volume) : volume
    const last = recent().slice(-most)
    return last.length >= most && failedPercent(last) >= error_percent
  }

  /** Asks it without a citizen; whether it answers well. What is answered but not well says little: its logins may work all the same. */
  async function probed () {
    try {
      const well = await provider.probe() === 'well'
      inconclusive = well ? 0 : inconclusive + 1
      return well
    } catch (error) {
      inconclusive = 0
      throw error
    } finally { heardAt = performance.now() }
  }

  /** What closes it: a citizen who has come back well meanwhile, or a good probe; after a minute of bad answers a citizen may try. */
  async function trial () {
    const since = recent()
    if (since.length > 0 && failedPercent(since) < error_percent) return
    if (!await probed() && inconclusive < mostInconclusive) throw new Error('it answers, but not well')
  }

  const mayAsk = () => breaker.closed && !rests && forced === undefined

  /** Asks whether it answers, and once more a moment later when it does not. */
  async function check () {
    if (!mayAsk() || performance.now() - checkedAt < betweenChecksMs) return
    checkedAt = performance.now()
    for (let asked = 0; asked < enoughUnanswered && mayAsk(); asked++) {
      const begun = performance.now()
      try { await probed(); return } catch {
        suspectUntil = performance.now() + suspicionMs
        heard({ state: '', failed: true, answered: false })
        await pause(Math.max(0, jittered(askAgainMs) - (performance.now() - begun)), undefined, { ref: false })
      }
    }
  }

  function standing (): Standing {
    if (forced === 'open' || !breaker.closed) return 'down'
    const calls = recent()
    const isLate = usual !== undefined && usual.ms > slow_ms && performance.now() - usual.at < window_ms
    return onTrial() || inconclusive > 0 || isLate || (calls.length > enoughUnanswered && failedPercent(calls) > unsteadyPercent) ? 'slow' : 'up'
  }

  return {
    ...provider,
    standing,
    check,

    async authorizationUrl (question) {
      if (standing() === 'down') throw new OAuthError('provider_unavailable', 'the identity provider has not been answering')
      try {
        const url = await provider.authorizationUrl(question)
        sentAt = performance.now()
        return url
      } catch (error) {
        check()                                                          // one question may have failed for many citizens
        throw error
      }
    },

    async identify (callback, question) {
      const begun = performance.now()
      const { state } = question
      const before = closings                                           // what failed since, failed before it was trusted again
      try {
        const answer = await provider.identify(callback, question)
        const at = performance.now()
        usual = { ms: usual === undefined ? at - begun : usual.ms + weightOfNewest * (at - begun - usual.ms), at }
        inconclusive = 0
        trialUntil = -Infinity
        heard({ state, failed: false, answered: true })
        return answer
      } catch (error) {
        if (isOutage(error) && forced === undefined && closings === before) heard({ state, failed: true, answered: !isUnanswered(error) })
        throw error
      }
    },

    /** Where it logs out; a provider that is down or slow to say keeps nobody who logs out. */
    async endSessionUrl (logout) {
      if (standing() === 'down') return undefined
      return inTime(logoutPatienceMs, provider.endSessionUrl(logout), () => new Error('late')).catch(() => undefined)
    },

    suspect () {
      suspectUntil = performance.now() + suspicionMs
      check()
    },

    rest () {
      rests = true
      clearInterval(patrol)
    },

    async close () {
      clearInterval(patrol)
      breaker.shutdown()
      await provider.close()
    }
  }
}
