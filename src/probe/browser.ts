import { isIP, type LookupFunction } from 'node:net'
import { createSecureContext, getCACertificates } from 'node:tls'
import { CookieJar, getPublicSuffix } from 'tough-cookie'
import { Agent } from 'undici'
import { localhostLookup } from '../adapters/localhost-lookup.ts'
import type { ProbeSettings } from './settings.ts'
import type { Watch } from './watch.ts'

/** What is asked for next; `from` is the page it is asked from. */
export interface Ask { url: URL, form?: URLSearchParams | undefined, from?: URL | undefined }
/** What came: a page, or the way on. */
export interface Answer { status: number, text: string, next?: Ask | undefined }

export type Browser = ReturnType<typeof createBrowser>

const maximumBytes = 1024 * 1024
const redirects = new Set([301, 302, 303, 307, 308])

/**
 * A minimal browser: cookies, forms and redirects, one hop at a time, no scripts. Every request is limited in time and size, and no form goes to another host than it was
 * meant for.
 */
export function createBrowser ({ issuer, resolve, certificateAuthority, step_timeout_ms: timeout }: Pick<ProbeSettings, 'issuer' | 'resolve' | 'certificateAuthority' | 'step_timeout_ms'>, watch: Watch) {
  const jar = new CookieJar(undefined, { prefixSecurity: 'strict' })
  const agent = new Agent({
    allowH2: false,
    maxResponseSize: maximumBytes,
    headersTimeout: 0,                                                 // the watch has one for everything
    bodyTimeout: 0,
    connect: { lookup: lookupOf(resolve), timeout, ...(certificateAuthority && { secureContext: createSecureContext({ ca: [...getCACertificates('default'), certificateAuthority] }) }) }
  })

  /** One request. @throws {ProbeFailure} */
  async function call (url: URL, { method, headers, body }: { method: string, headers: Record<string, string>, body?: string | undefined }) {
    try {
      const answer = await agent.request({ origin: url.origin, path: url.pathname + url.search, method, headers: { 'user-agent': 'passerelle-probe', ...headers }, body: body ?? null, signal: watch.signal() })
      return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() }
    } catch (error) {
      throw watch.failure(reasonOf(error, watch))
    }
  }

  return {
    call,
    /** Where the gateway has https, nobody leads away from it. */
    mayGo: ({ protocol }: URL) => protocol === 'https:' || (protocol === 'http:' && issuer.startsWith('http:')),
    /** Goes there as a citizen's browser does, and no further. */
    async go ({ url, form, from }: Ask): Promise<Answer> {
      const method = form === undefined ? 'GET' : 'POST'
      const relation = from === undefined ? 'none' : relationOf(from, url)
      // SameSite: a link or a redirect brings Lax cookies, a form only from its own site
      const sameSiteContext = relation !== 'cross-site' ? 'strict' : method === 'GET' ? 'lax' : 'none'
      const cookie = jar.getCookieStringSync(url.href, { sameSiteContext })
      const { status, headers, text } = await call(url, {
        method,
        headers: {
          accept: 'text/html,application/xhtml+xml',
          'accept-language': 'en',
          'sec-fetch-mode': 'navigate',
          'sec-fetch-dest': 'document',
          'sec-fetch-site': relation,
          ...(cookie && { cookie }),
          ...(form && { 'content-type': 'application/x-www-form-urlencoded', origin: from?.origin ?? 'null' })
        },
        body: form?.toString()
      })
      for (const line of [headers['set-cookie'] ?? []].flat()) jar.setCookieSync(line, url.href, { ignoreError: true })
      const { location } = headers
      if (!redirects.has(status) || typeof location !== 'string') return { status, text }
      if (!URL.canParse(location, url)) throw watch.failure('it redirects to what is no address', { status })
      const next = new URL(location, url)
      const again = form !== undefined && status > 303                 // 307 and 308 send the form once more
      if (again && next.origin !== url.origin) throw watch.failure('it sends a form on to another host', { status })
      return { status, text, next: { url: next, form: again ? form : undefined, from: from ?? url } }
    },
    close: () => agent.destroy()
  }
}

/** As openid-client wants it. */
export const fetchBy = ({ call }: Browser) => async (url: string, { method, headers, body }: { method: string, headers: Record<string, string>, body?: unknown }) => {
  const answer = await call(new URL(url), { method, headers, body: body === undefined || body === null ? undefined : String(body) })
  const type = answer.headers['content-type']
  const challenge = answer.headers['www-authenticate']
  return new Response(answer.status === 204 || answer.status === 304 ? null : answer.text, {
    status: answer.status,
    headers: { ...(typeof type === 'string' && { 'content-type': type }), ...(typeof challenge === 'string' && { 'www-authenticate': challenge }) }
  })
}

/** Fetch Metadata §2.3. */
function relationOf (from: URL, to: URL) {
  if (from.origin === to.origin) return 'same-origin'
  const site = ({ protocol, hostname }: URL) => `${protocol} ${(isIP(hostname) === 0 && getPublicSuffix(hostname, { allowSpecialUseDomain: true, ignoreError: true })) || hostname}`
  return site(from) === site(to) ? 'same-site' : 'cross-site'
}

const lookupOf = (addresses: Record<string, string>): LookupFunction => (hostname, options, callback) => {
  const address = Object.hasOwn(addresses, hostname) ? addresses[hostname]! : undefined
  if (address === undefined) return localhostLookup(hostname, options, callback)
  if (options.all) callback(null, [{ address, family: isIP(address) }])
  else callback(null, address, isIP(address))
}

const untrusted = /CERT|SELF_SIGNED|UNABLE_TO_|^ERR_TLS_|HOSTNAME_MISMATCH/

/** Why there is no answer, in our words and a code of the system. */
function reasonOf (error: unknown, watch: Watch) {
  const { name, code = name } = error as NodeJS.ErrnoException
  if (name === 'TimeoutError' || code === 'UND_ERR_CONNECT_TIMEOUT') return `no whole answer within ${watch.limit()}`
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') return `an answer of more than ${maximumBytes} bytes`
  const told = /^\w{1,64}$/.test(code) ? code : 'unknown error'
  if (told.startsWith('ERR_SSL_')) return `no TLS with it (${told})`
  return untrusted.test(told) ? `its certificate is not trusted (${told})` : `no answer (${told})`
}
