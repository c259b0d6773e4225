import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import type { Test } from 'tap'
import { temporaryDirectory } from '../support/gateway.ts'
import { createBrowser, type Browser, type Page } from '../world/browser.ts'
import { citizens } from '../world/citizens.ts'
import { openHost, type Tls } from '../world/host.ts'
import type { World } from '../world/world.ts'

/** A client that stands beside the world's own services, on a host of its own. */
export interface Party {
  url: string
  client_id: string
  client_secret: string
  redirect_uri: string
  post_logout_redirect_uri: string
  /** what the gateway is told of it: a tree of `clients/*.yaml` */
  registration: Record<string, unknown>
}

/** What stands over the registration of an ordinary client with a secret; `callback` is where it listens for the answer. */
type Changes = { callback?: string } & Record<string, unknown>

/** A secret file and a registration for a client at this address. */
export function registerParty (t: Test, client_id: string, url: string, { callback = '/callback', ...changes }: Changes = {}): Party {
  const client_secret = randomBytes(32).toString('base64url')
  const file = join(temporaryDirectory(t), 'secret')
  writeFileSync(file, client_secret, { mode: 0o600 })
  const redirect_uri = `${url}${callback}`
  const post_logout_redirect_uri = `${url}/logged-out`
  const registration = {
    client_id,
    name: client_id,
    redirect_uris: [redirect_uri],
    post_logout_redirect_uris: [post_logout_redirect_uri],
    scopes: ['openid', 'profile', 'email'],
    client_secrets: [{ file }],
    ...changes
  }
  return { url, client_id, client_secret, redirect_uri, post_logout_redirect_uri, registration }
}

/** The same with a server that listens already, since the gateway has to know its port; what it answers comes later, with `serve`. */
export async function openParty (t: Test, client_id: string, { suffix = 'localhost', tls, ...changes }: { suffix?: string, tls?: Tls } & Changes = {}) {
  let answer: RequestListener = (_request, response) => response.writeHead(503).end()
  const host = await openHost(client_id, 0, { issuer: '', suffix, ports: 'any', tls }, (request, response) => answer(request, response))
  t.teardown(() => host.stop())
  return { ...registerParty(t, client_id, host.origin, changes), serve (listener: RequestListener) { answer = listener } }
}

/** A browser that is gone with its test. */
export function openBrowser (t: Test, options: Parameters<typeof createBrowser>[0] = {}) {
  const browser = createBrowser(options)
  t.teardown(() => browser.close())
  return browser
}

const passwordOf = (citizen: string) => citizens.find(({ username }) => username === citizen)!.password

/** From the gateway's chooser, or the address of a service that sends there, up to the gateway's information page. */
export async function signIn (browser: Browser, start: string | Page, { provider = 'vitalys', citizen = 'marion' } = {}) {
  if (typeof start === 'string') await browser.get(start)
  await browser.click(`idp-${provider}`)
  return browser.click('sign-in', { username: citizen, password: passwordOf(citizen) })
}

/** The whole way of a citizen who agrees: to the page where the service greets. */
export async function logIn (browser: Browser, start: string | Page, choices: Parameters<typeof signIn>[2] = {}) {
  await signIn(browser, start, choices)
  return browser.click('continue')
}

/** A page in plain words; the library under test says the rest. */
export const paragraph = (id: string, text: unknown) => `<!doctype html><meta charset="utf-8"><p id="${id}">${String(text).replace(/[&<"]/g, character => `&#${character.charCodeAt(0)};`)}</p>`

/** Whether the browser was sent to the identity provider's own logout. */
export const leftProvider = ({ visits }: Browser, { providers: { vitalys } }: World) => visits.some(({ url }) => url.startsWith(`${vitalys!.url}/session/end`))
