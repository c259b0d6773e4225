import { failures, type Failure } from '../protocol/errors.ts'
import { isStep, steps, type EventLine, type EventName, type Outcome } from '../protocol/events.ts'

/** A line of the log as somebody kept it: members that we do not know are let be. */
export type Kept = Pick<EventLine, 'event' | 'time' | 'reqId'> & Partial<Omit<EventLine, 'err'>> & { err?: { message?: string } }

/** All that is known of one login, in the order in which it happened. */
export interface Story { login: string | undefined, lines: Kept[] }

/** One line of a log, where it is an event; undefined for anything else. */
export function eventIn (text: string): Kept | undefined {
  const start = text.indexOf('{')                                       // what collects logs may have put something before it
  if (start === -1) return undefined
  try {
    const line = JSON.parse(text.slice(start)) as Kept
    return typeof line.event === 'string' && typeof line.time === 'number' && typeof line.reqId === 'string' ? line : undefined
  } catch { return undefined }
}

/** An id as a login has it, and as a request has it that was heard over the telephone. */
export const spellingsOf = (id: string) => [id.trim(), id.toUpperCase().replaceAll(/[^0-9A-Z]/g, '')] as const

/**
 * What these events tell of an id: of a login, or of a request, as a citizen reads it on an error page. A request that belongs to a login tells the whole login, and one to which nothing else
 * belongs itself alone. Undefined where there is none.
 */
export function storyOf (events: Iterable<Kept>, id: string): Story | undefined {
  const all = [...events]
  const [named, spoken] = spellingsOf(id)
  const isLogin = all.some(({ login }) => login === named)
  const requests = isLogin ? [] : all.filter(({ reqId }) => reqId === spoken)
  const login = isLogin ? named : requests.find(line => line.login !== undefined)?.login
  const lines = login === undefined ? requests : all.filter(line => line.login === login)
  return lines.length === 0 ? undefined : { login, lines: lines.toSorted((a, b) => a.time - b.time) }
}

const sides: Record<Exclude<Outcome, 'success'>, string> = {
  citizen: 'the citizen\'s own doing, or the browser\'s',
  client: 'the service\'s mistake',
  provider: 'the identity provider\'s failure',
  us: 'our own failure'
}

const isFailure = ({ failure }: Kept) => failure !== undefined

/** The story in words, for support staff. Times are UTC. */
export function told ({ login, lines }: Story): string {
  const [first] = lines
  const last = lines.at(-1)!
  const services = names(lines.map(({ client_id }) => client_id))
  const providers = names(lines.map(({ idp }) => idp))
  return [
    login === undefined ? `Request ${first!.reqId}, which belongs to no login.` : `Login ${login}${services === '' ? '' : `, for the service ${services}`}${providers === '' ? '' : `, by ${providers}`}.`,
    `It began at ${instant(first!.time)} UTC and the last that is known of it is ${lasted(last.time - first!.time)} later${places(lines)}.`,
    '',
    ...lines.map(line => `  ${instant(line.time).slice(11)}  ${(line.step ?? (line.security === true ? '!' : '')).padEnd(5)}  ${sentence(line)}`),
    '',
    ending(lines)
  ].join('\n')
}

const names = (values: Array<string | undefined>) => [...new Set(values.filter(value => value !== undefined))].join(', then ')
const instant = (time: number) => new Date(time).toISOString().replace('T', ' ').replace('Z', '')
const lasted = (ms: number) => ms < 1000 ? `${ms} ms` : ms < 120_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} minutes`
const places = (lines: Kept[]) => {
  const replicas = names(lines.map(({ replica }) => replica)).replaceAll(', then ', ', ')
  const sites = names(lines.map(({ site }) => site)).replaceAll(', then ', ', ')
  return replicas === '' ? '' : `; it was served by ${replicas}, site ${sites}`
}

/** What happened, and with what. */
function sentence (line: Kept) {
  const { event, idp, acr, ms, active, degraded, session_of, reqId } = line
  const what = isStep(event) ? steps[event].what : line.security === true ? `Security event: ${event}` : 'A request failed'
  const details = [
    idp === undefined ? undefined : `identity provider ${idp}`,
    acr === undefined ? undefined : `level ${acr}`,
    ms === undefined ? undefined : `${ms} ms`,
    active === undefined ? undefined : active ? 'it was good' : 'it was good no more',
    degraded === true ? 'Redis was away, the code held its record' : undefined,
    session_of === undefined ? undefined : `the session of login ${session_of}`
  ].filter(detail => detail !== undefined)
  return `${what}${details.length === 0 ? '' : ` (${details.join(', ')})`}${isFailure(line) ? ` — NO: ${failed(line)}, request ${reqId}` : ''}`
}

function failed ({ failure, outcome, err }: Kept) {
  const code = failures[failure as Failure]?.citizen
  const side = outcome === undefined || outcome === 'success' ? '' : `, ${sides[outcome]}`
  return `${failure}${code === undefined ? '' : ` (the page says ${code})`}${err?.message === undefined ? '' : `: ${err.message}`}${side}`
}

/** How it ended, and where to look. */
function ending (lines: Kept[]) {
  const did = (event: EventName) => lines.some(line => line.event === event && !isFailure(line))
  const fault = lines.findLast(isFailure)
  if (did('userinfo')) return 'It ended well: the service redeemed the code and read the identity.'
  if (did('token')) return 'It ended well for us: the service redeemed the code. It has not read the identity, which it may not need.'
  if (fault !== undefined && lines.at(-1) === fault) return `It did not end well: ${failed(fault)}.`
  if (did('returned')) return 'The citizen was sent back to the service with a code, which the service has not redeemed: look at the service, or at what blocked the citizen\'s browser on the way there.'
  if (did('information_shown')) return 'The citizen has not answered the page that says what will be sent.'
  if (did('verified')) return 'The identity is here, and the citizen has not gone on.'
  if (did('provider_chosen')) return 'The citizen is at the identity provider, or gave up there: nobody has come back.'
  if (did('chooser_shown')) return 'The citizen has not chosen an account.'
  return 'Nothing more is known of it.'
}
