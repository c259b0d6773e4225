/** What is wrong with a connection to Redis, in words for those who operate it: never what was sent, nor who we said we were. */
export class RedisTrouble extends Error {
  override readonly name = 'RedisTrouble'
  readonly code: string
  /** host and port, where one node is meant */
  readonly address: string | undefined

  constructor (code: string, address?: string) {
    super(wordsOf(code))
    this.code = code
    this.address = address
  }
}

/** How far a connection had come when it ended, and by what. */
export interface Ended { error?: NodeJS.ErrnoException | undefined, isSecure: boolean, reached: boolean, secured: boolean, spoke: boolean }

/** The code of what ended a connection; undefined for one that served and was closed. */
export function endOf ({ error, isSecure, reached, secured, spoke }: Ended) {
  const isClosed = error === undefined || error.code === 'ECONNRESET' || error.code === 'EPIPE'
  if (isClosed && !spoke && (isSecure ? secured : reached)) return isSecure ? 'TLS_CLOSED_UNHEARD' : 'CLOSED_UNHEARD'
  if (error !== undefined) return error.code ?? 'TIMED_OUT'              // the library's own, of an answer that did not come
  if (!reached) return 'TIMED_OUT'
  return isSecure && !secured ? 'TLS_UNANSWERED' : undefined
}

/** The code of a refusal that somebody has to do something about; undefined for every other answer. */
export function refusalOf ({ name, message }: Error) {
  const [code = ''] = message.split(' ', 1)
  return name === 'ReplyError' && refusals.has(code) ? code : undefined
}

const refusals = new Map(Object.entries({
  WRONGPASS: 'it does not accept our user or password',
  NOAUTH: 'it wants a user and password',
  NOPERM: 'our user has no right to do this: docs/redis.md says which rights it needs',
  OOM: 'its memory is full, and it may not forget anything',
  MISCONF: 'it cannot write to its disk, and refuses writes because of that',
  READONLY: 'it is a replica: the address has to lead to the primary',
  NOREPLICAS: 'too few replicas follow it (min-replicas-to-write)'
}))

const untrusted = 'its certificate is by no authority that we trust (ca)'
const refused = 'it does not accept our certificate, or wants one (tls_client)'

const failures = new Map(Object.entries({
  ECONNREFUSED: 'nobody listens there',
  EHOSTUNREACH: 'there is no way to it',
  ENETUNREACH: 'there is no way to it',
  ENOTFOUND: 'its name is not known',
  EAI_AGAIN: 'its name cannot be looked up now',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
  ETIMEDOUT: 'it does not answer in time',
  TIMED_OUT: 'it does not answer in time',
  CLOSED_UNHEARD: 'it closed the connection before it said anything, as a port for TLS does (rediss://)',
  TLS_CLOSED_UNHEARD: 'it closed the connection before it said anything, as one does that wants another certificate of ours (tls_client)',
  TLS_UNANSWERED: 'it does not answer in TLS: it does not answer at all now, or has no TLS there (redis://)',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it answers, but not in TLS (redis://)',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'it answers, but not in TLS (redis://)',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name or address (server_name)',
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  CERT_SIGNATURE_FAILURE: untrusted,
  INVALID_CA: untrusted
}))

function wordsOf (code: string) {
  return failures.get(code) ?? refusals.get(code) ?? (/^ERR_SSL_.*ALERT/.test(code) ? refused : 'the connection failed')
}
