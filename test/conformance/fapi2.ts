import { randomBytes, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'
import type { Test } from 'tap'
import {
  ask, authorize, checkCode, checkTokens, digest, entropy, relyingParty,
  type Answer, type Call, type Client, type Parameters, type Stage, type Tokens
} from './support.ts'
import type { Browser } from '../world/browser.ts'

// A client of the FAPI 2.0 Security Profile: private_key_jwt, pushed requests, DPoP with the nonces that it is asked for.

export interface Key { alg: 'PS256' | 'ES256', jwk: JWK & { kid: string }, privateKey: CryptoKey }

/** A new key, whose public part is `jwk`. */
export async function makeKey (alg: Key['alg']): Promise<Key> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return { alg, privateKey, jwk: { ...await exportJWK(publicKey), kid: randomUUID(), alg, use: 'sig' } }
}

/** A client, the key that it authenticates by, and the key that its tokens are bound to. */
export interface Party extends Client { key: Key, proofKey: Key }

export const party = (client_id: string, key: Key, proofKey: Key, query = ''): Party =>
  ({ client_id, key, proofKey, redirect_uri: `${relyingParty}/${client_id}/callback${query}`, authenticate: form => form })

/** What the registration of such a client has to be. */
export const registrationOf = ({ client_id, redirect_uri, key: { alg, jwk: { alg: ofKey, ...jwk } } }: Party, scopes: string[]) => ({
  client_id,
  name: 'Conformance suite',
  profile: 'fapi2',
  redirect_uris: [redirect_uri],
  scopes,
  token_endpoint_auth_method: 'private_key_jwt',
  id_token_signed_response_alg: alg,
  jwks: { keys: [jwk] }                                                 // without its alg: the profile alone says which may be used
})

type Claims = Record<string, unknown>
/** What is otherwise about a JWT than it should be; `undefined` takes a member away. */
export interface Bent { header?: Claims, claims?: Claims, key?: Key, alg?: string, /** done to the JWT itself */ after?: (jwt: string) => string }

async function sign (claims: Claims, header: Claims, key: Key, { header: otherHeader, claims: otherClaims, key: otherKey = key, alg = otherKey.alg, after = jwt => jwt }: Bent) {
  const { privateKey } = otherKey
  const signer = alg === otherKey.alg ? privateKey : await anew(privateKey)
  return after(await new SignJWT({ ...claims, ...otherClaims }).setProtectedHeader({ ...header, ...otherHeader, alg }).sign(signer))
}

/** The same RSA key for RS256. */
const anew = async (privateKey: CryptoKey) => crypto.subtle.importKey('pkcs8', await crypto.subtle.exportKey('pkcs8', privateKey), { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }, true, ['sign'])

/** A JWT that says `none` of its signature. */
export const withoutSignature = (jwt: string, header: Claims = {}) => [Buffer.from(JSON.stringify({ alg: 'none', ...header })).toString('base64url'), jwt.split('.')[1], ''].join('.')

/** A JWT whose signature is another. */
export function withOtherSignature (jwt: string) {
  const [header, payload, signature] = jwt.split('.')
  const bytes = Buffer.from(signature!, 'base64url')
  bytes[0]! ^= 0x5a
  return [header, payload, bytes.toString('base64url')].join('.')
}

/** The form by which a client authenticates (RFC 7523 §2.2). */
export async function assertion ({ issuer, now }: Stage, { client_id, key }: Party, bent: Bent = {}): Promise<Parameters> {
  const claims = { iss: client_id, sub: client_id, aud: issuer, jti: randomUUID(), nbf: now(), iat: now(), exp: now() + 60 }
  return {
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await sign(claims, { kid: key.jwk.kid }, key, bent)
  }
}

/** A DPoP proof (RFC 9449 §4.2). */
export function proofFor ({ now }: Stage, { proofKey }: Party, method: string, url: string, { nonce, access_token }: { nonce?: string | undefined, access_token?: string } = {}, bent: Bent = {}) {
  const { kid, alg, use, ...jwk } = (bent.key ?? proofKey).jwk
  const claims = { jti: randomUUID(), htm: method, htu: url, iat: now(), nonce, ath: access_token && digest(access_token).toString('base64url') }
  return sign(claims, { typ: 'dpop+jwt', jwk }, proofKey, bent)
}

/** The nonce that an answer asks for (RFC 9449 §8, §9), if it asks for one. */
function nonceAsked ({ status, headers, json }: Answer) {
  const nonce = headers['dpop-nonce']
  const asked = (status === 400 && json['error'] === 'use_dpop_nonce') || (status === 401 && /^DPoP .*error="use_dpop_nonce"/.test(String(headers['www-authenticate'])))
  return asked && typeof nonce === 'string' && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(nonce) ? nonce : undefined
}

/** What one client keeps between its calls: the nonces that it was given last, by the authorization server and by userinfo. */
export interface Nonces { server?: string | undefined, resource?: string | undefined }

interface Sending { /** undefined for no proof */ proof?: Bent | undefined, assertion?: Bent | null, form?: Record<string, string | undefined>, nonces?: Nonces, method?: string }

/** Calls the authorization server as this client, a second time where it asks for a nonce. */
async function send (stage: Stage, client: Party, url: string, form: Parameters, { proof, assertion: bent = {}, form: extra = {}, nonces = {}, method = 'POST' }: Sending): Promise<Answer> {
  const once = async () => stage.call(url, {
    method,
    form: without({ ...form, ...(bent === null ? { client_id: client.client_id } : await assertion(stage, client, bent)), ...extra }),
    ...(proof && { headers: { dpop: await proofFor(stage, client, method, url, { nonce: nonces.server }, proof) } })
  })
  const first = await once()
  const nonce = proof && nonceAsked(first)
  if (!nonce) return first
  nonces.server = nonce
  return once()
}

const without = (form: Record<string, string | undefined>) => Object.fromEntries(Object.entries(form).filter((entry): entry is [string, string] => entry[1] !== undefined))

/** Pushes a request (RFC 9126 §2.1). */
export const push = (stage: Stage, client: Party, parameters: Parameters, sending: Sending = {}) =>
  send(stage, client, stage.metadata.pushed_authorization_request_endpoint, parameters, sending)

/** Redeems a code, with a proof unless it is said otherwise. */
export const redeemBound = (stage: Stage, client: Party, form: Parameters, sending: Sending = {}) =>
  send(stage, client, stage.metadata.token_endpoint, { grant_type: 'authorization_code', redirect_uri: client.redirect_uri, ...form }, { proof: {}, ...sending })

interface Asking extends Omit<Call, 'headers'> {
  nonces?: Nonces
  proof?: Bent
  scheme?: string
  /** what is otherwise about the headers, made from the proof */
  headers?: (proof: string) => Call['headers'] | Promise<Call['headers']>
}

/** Asks userinfo with a bound token, a second time where it asks for a nonce. */
export async function askBound (stage: Stage, client: Party, { access_token }: Pick<Tokens, 'access_token'>, { nonces = {}, proof = {}, scheme = 'DPoP', headers = dpop => ({ dpop }), method = 'GET' }: Asking = {}) {
  const url = stage.metadata.userinfo_endpoint
  const once = async () => {
    const given = await headers(await proofFor(stage, client, method, url, { nonce: nonces.resource, access_token }, proof))
    return stage.call(url, { method, headers: { authorization: `${scheme} ${access_token}`, ...given } })
  }
  const first = await once()
  const nonce = nonceAsked(first)
  if (!nonce) return first
  nonces.resource = nonce
  return once()
}

/** An authorization request with PKCE, and its verifier. */
export function askWithChallenge (client: Party, changes: Record<string, string | undefined> = {}) {
  const code_verifier = randomBytes(32).toString('base64url')
  return { code_verifier, asked: ask(client, { code_challenge: digest(code_verifier).toString('base64url'), code_challenge_method: 'S256', ...changes }) }
}

/** A request was taken (RFC 9126 §2.2); gives its name. */
export function checkPushed (t: Test, { status, headers, json, text }: Answer) {
  t.equal(status, 201, text)
  t.match(headers['content-type'], /^application\/json\b/)
  t.match(headers['cache-control'], /\bno-store\b/)
  const { request_uri, expires_in } = json
  t.ok(typeof request_uri === 'string' && entropy(request_uri) > 128, 'a request_uri cannot be guessed')
  t.ok(Number.isInteger(expires_in) && Number(expires_in) > 0 && Number(expires_in) <= 600, 'it says how long it lives')
  return { request_uri: request_uri as string, expires_in: expires_in as number }
}

/** What stands beside a request_uri at the authorization endpoint: by default what OAuth and OpenID Connect once required there. */
export const frontChannel = ({ client_id, response_type, scope, redirect_uri }: Parameters, request_uri: string, outside: Parameters = {}) =>
  ({ client_id: client_id!, response_type: response_type!, scope: scope!, redirect_uri: redirect_uri!, request_uri, ...outside })

export interface Way {
  /** what is otherwise about the request */
  changes?: Record<string, string | undefined>
  /** sent with the pushed request */
  pushing?: Sending
  /** what stands besides at the authorization endpoint */
  outside?: Parameters
  /** sent with the token request */
  redeeming?: Sending
  /** what is otherwise about the proofs at userinfo */
  asking?: Asking
  browser?: Browser
}

/** From the request to the code. */
export async function enter (t: Test, stage: Stage, client: Party, { changes, pushing, outside, browser = stage.newBrowser() }: Way = {}) {
  const { asked, code_verifier } = askWithChallenge(client, changes)
  const { request_uri } = checkPushed(t, await push(stage, client, asked, pushing))
  const walk = await authorize(stage, browser, frontChannel(asked, request_uri, outside))
  return { asked, request_uri, walk, browser, form: { code: checkCode(t, stage, client, asked, walk), code_verifier } }
}

/** From the request to the tokens, bound to the client's key. */
export async function enterForTokens (t: Test, stage: Stage, client: Party, way: Way = {}) {
  const entered = await enter(t, stage, client, way)
  const tokens = await checkTokens(t, stage, client, entered.asked, await redeemBound(stage, client, entered.form, way.redeeming))
  t.equal(tokens.token_type, 'DPoP')
  return { ...entered, tokens }
}

/** The thumbprint of a key (RFC 7638). */
export const thumbprint = ({ jwk }: Key) => calculateJwkThumbprint(jwk)
