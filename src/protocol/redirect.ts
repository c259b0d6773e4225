/** An address with these parameters added (RFC 6749 §4.1.2), otherwise as it was registered, letter by letter. */
export function withParameters (address: string, parameters: Record<string, string | undefined>) {
  const added = new URLSearchParams(Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined)).toString()
  if (added === '') return address
  return `${address}${address.includes('?') ? '&' : '?'}${added}`
}
