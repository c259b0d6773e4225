import { Agent } from 'undici'
import { createLookup } from '../world/lookup.ts'
import type { Call, History } from './history.ts'
import { readErrorCode } from './pages.ts'

/** An answer, or with status 0 none. */
export interface Answer {
  url: string
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  at: number
  endedAt: number
  replica: string | undefined
  /** why there is none */
  error?: string
  failure?: string | undefined
  errorCode?: string | undefined
}

export interface CallOptions {
  method?: 'GET' | 'POST'
  headers?: Record<string, string>
  body?: URLSearchParams
  /** the attempt it belongs to */
  n?: number
  /** who is asked, where it is not the load balancer that decides */
  replica?: string
  patienceMs?: number
}

export type Caller = (step: string, url: string | URL, options?: CallOptions) => Promise<Answer>

const usualPatienceMs = 30_000
/** No page of ours is as large: a citizen's browser has better things to do than to read it all. */
const maximumBytes = 4 * 1024 * 1024

/** Makes requests and writes each into the history, with what came of it. No redirect is followed. */
export function createCaller (history: History, clock: () => number): { call: Caller, close (): Promise<void> } {
  const agent = new Agent({ connect: { lookup: createLookup('localhost') }, maxResponseSize: maximumBytes })

  const call: Caller = async (step, url, { method = 'GET', headers = {}, body, n, replica, patienceMs = usualPatienceMs } = {}) => {
    const at = clock()
    const { origin, pathname, search, href } = new URL(url)
    const answer = await ask().catch((error: NodeJS.ErrnoException): Partial<Answer> => ({ error: error.name === 'TimeoutError' ? `no answer within ${patienceMs} ms` : error.code ?? error.name }))
    const whole = { url: href, status: 0, headers: {}, text: '', replica, ...answer, at, endedAt: clock() }
    const told = whole.status >= 400 ? toldBy(whole) : {}
    const { status, error } = whole
    const retryAfter = whole.headers['retry-after'] !== undefined || undefined
    const triedAgain = (whole.headers['x-retries'] ?? '0') !== '0' || undefined
    history.requests.push(withoutNothing({ n, step, at, ms: whole.endedAt - at, method, status, replica: whole.replica, error, ...told, retryAfter, triedAgain }))
    return { ...whole, ...told }

    /** Which site names lead to, as a citizen's and a service's resolver have it. */
    function sitePreferred () {
      const site = n === undefined ? undefined : history.attempts[n]?.site
      return site === undefined ? {} : { 'x-site': site }
    }

    async function ask (): Promise<Partial<Answer>> {
      const { statusCode: status, headers: answered, body: stream } = await agent.request({
        origin,
        path: pathname + search,
        method,
        headers: { ...headers, ...sitePreferred(), ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }) },
        body: body === undefined ? null : body.toString(),
        signal: AbortSignal.timeout(patienceMs)
      })
      const named = answered['x-replica']
      return { status, headers: answered, text: await stream.text(), ...(typeof named === 'string' ? { replica: named } : {}) }
    }
  }
  return { call, close: () => agent.destroy() }
}

/** The OAuth error of a JSON answer, or the code on an error page. */
function toldBy ({ headers, text }: Pick<Answer, 'headers' | 'text'>): Pick<Answer, 'failure' | 'errorCode'> {
  if (!String(headers['content-type']).startsWith('application/json')) return { errorCode: readErrorCode(text) }
  const { error } = parsed(text) ?? {}
  return { failure: typeof error === 'string' ? error : undefined }
}

/** A JSON object, or undefined for anything else. */
export function parsed (text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch { return undefined }
}

const withoutNothing = (call: Call) => Object.fromEntries(Object.entries(call).filter(([, value]) => value !== undefined)) as unknown as Call
