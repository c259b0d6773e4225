import { createHmac, type KeyObject } from 'node:crypto'
import { clientMark, nonceMark } from './subject.ts'

/** 22 characters of the login's id, 16 that tell the provider apart, 11 that tell us the client. */
const form = /^([A-Za-z0-9_-]{22})\.[A-Za-z0-9_-]{16}\.([A-Za-z0-9_-]{11})$/

/**
 * What one login asks of one identity provider: derived (HKDF-Expand, RFC 5869 §2.3, one block), so that a double click asks the same
 * question and nothing but the login's secret has to be kept. `secret` makes the marks by which we know our own again.
 */
export function upstreamOf (login: { id: string, secret: string }, idp: string, client_id: string, secret: KeyObject) {
  const derive = (what: string) => createHmac('sha256', Buffer.from(login.secret, 'base64url')).update(`passerelle upstream ${what} ${idp}\u0001`).digest('base64url')
  const random = derive('nonce').slice(0, 22)
  return {
    state: `${login.id}.${derive('state').slice(0, 16)}.${clientMark(secret, login.id, client_id)}`,
    nonce: `${random}.${nonceMark(secret, random)}`,
    code_verifier: derive('code_verifier')
  }
}

/** Whether a nonce is one that some login of ours was given: a browser may bring its answer to another login, a provider cannot make it up. */
export function isOwnNonce (secret: KeyObject, nonce: string) {
  const [random = '', mark, ...rest] = nonce.split('.')
  return rest.length === 0 && mark === nonceMark(secret, random)
}

/** The login that a `state` of ours names, and the mark of its client; undefined for any other text. */
export function loginOfState (state: string | undefined) {
  const [, id, mark] = form.exec(state ?? '') ?? []
  return id === undefined ? undefined : { id, mark: mark! }
}
