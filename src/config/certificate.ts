import { X509Certificate } from 'node:crypto'

/** Whether a text is a certificate, PEM. */
export function isCertificate (pem: string) {
  try { return new X509Certificate(pem).raw.length > 0 } catch { return false }
}

const ends = new Map<string, number>()
/** as many texts are remembered: certificates are renewed again and again */
const most = 100

/** When the first of these certificates is over (NumericDate, seconds); of texts that were checked, PEM. */
export function endOfCertificates (pem: string) {
  const known = ends.get(pem)
  if (known !== undefined) return known
  if (ends.size > most) ends.clear()
  const all = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  const end = Math.min(...all.map(one => new X509Certificate(one).validToDate.getTime() / 1000))
  ends.set(pem, end)
  return end
}
