/** The steps of a login, in their order; the chooser is not shown where a hint is followed, nor a logout made unless it is asked for. */
export const steps = ['discovery', 'authorize', 'chooser', 'login', 'provider', 'callback', 'consent', 'token', 'userinfo', 'logout'] as const
export type Step = typeof steps[number]
/** On whose side something is: who answers a request, and whom a failure should wake; `probe` is the probe itself. */
export type Side = 'gateway' | 'provider' | 'probe'

/** What is told of a failure: the words are ours, and what is not has been looked at by `foreign`. */
export interface Trouble {
  step: Step
  at: Side
  reason: string
  status?: number | undefined
  /** of the OAuth answer */
  error?: string | undefined
  /** why the gateway's chooser was shown again */
  notice?: string | undefined
  /** what the gateway's page says for support: the code, and the id that its log has as `reqId` */
  code?: string | undefined
  support_id?: string | undefined
}

/** What a login tells of itself, while it goes on. */
export type Told = { entered: Step, at: Side } | { left: Step, milliseconds: number } | { ended: Trouble | null }

/** Thrown where a login fails. */
export class ProbeFailure extends Error {
  override readonly name = 'ProbeFailure'
  readonly trouble: Trouble
  constructor (trouble: Trouble) {
    super(trouble.reason)
    this.trouble = trouble
  }
}

export type Watch = ReturnType<typeof watchLogin>

/** Keeps the time of one login, and what must not be told of it. */
export function watchLogin ({ timeout_ms, step_timeout_ms }: { timeout_ms: number, step_timeout_ms: number }, tell: (told: Told) => void) {
  const end = performance.now() + timeout_ms
  const secrets = new Set<string>()
  let now: { step: Step, at: Side, begun: number, until: number } | undefined

  const watch = {
    get step () { return now!.step },
    get at () { return now!.at },
    /** Goes on with this step, at this side. */
    enter (step: Step, at: Side) {
      if (now?.step === step && now.at === at) return
      if (now?.step !== step) {
        watch.leave()
        const begun = performance.now()
        now = { step, at, begun, until: Math.min(end, begun + step_timeout_ms) }
      }
      now.at = at
      tell({ entered: step, at })
    },
    leave () {
      if (now !== undefined) tell({ left: now.step, milliseconds: Math.round(performance.now() - now.begun) })
    },
    /** Aborts when the time of this step, or of all, is up. */
    signal: () => AbortSignal.timeout(Math.max(1, Math.ceil(now!.until - performance.now()))),
    /** The same, for work of our own. @throws {ProbeFailure} */
    inTime () {
      if (performance.now() > now!.until) throw watch.failure(`its page was not read within ${watch.limit()}`)
    },
    /** Which of the limits it is. */
    limit: () => now!.until === end ? `the login's ${timeout_ms} ms` : `the step's ${step_timeout_ms} ms`,
    /** Whatever is said later must not hold these. */
    hide (...values: unknown[]) {
      for (const value of values) if (typeof value === 'string' && value !== '') secrets.add(value.toLowerCase())
    },
    /** A word of somebody else, where it looks as it should and holds nothing that was hidden. */
    foreign (value: unknown, shape: RegExp) {
      if (typeof value !== 'string' || !shape.test(value)) return undefined
      return [...secrets].some(secret => value.toLowerCase().includes(secret)) ? undefined : value
    },
    /** The failure of this step, at this side unless another is to blame. */
    failure: (reason: string, more: Partial<Trouble> = {}) => new ProbeFailure({ step: now!.step, at: now!.at, reason, ...more })
  }
  return watch
}
