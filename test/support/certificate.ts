import { createHash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { generate } from 'selfsigned'

export interface Certificate { key: string, cert: string, spki: string }

/**
 * A certificate for these host names and addresses, signed `by` an authority or by itself, so that it is its own authority; it ends a day from now, or ended a day ago.
 * `spki` is what a browser can be told to trust.
 */
export async function makeCertificate (names: string[], { by, ended = false }: { by?: Certificate, ended?: boolean } = {}): Promise<Certificate> {
  const day = 86_400_000
  const now = Date.now()
  const { private: key, cert } = await generate([{ name: 'commonName', value: names[0]! }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: new Date(ended ? now - 2 * day : now),
    notAfterDate: new Date(ended ? now - day : now + day),
    ...(by === undefined ? {} : { ca: by }),
    extensions: [
      { name: 'basicConstraints', cA: by === undefined },
      { name: 'subjectAltName', altNames: names.map(value => isIP(value) === 0 ? { type: 2, value } : { type: 7, ip: value }) }
    ]
  })
  const spki = createHash('sha256').update(new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' })).digest('base64')
  return { key, cert, spki }
}
