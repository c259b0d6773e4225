/** An address with these parameters added (RFC 6749 §4.1.2), otherwise as it was registered, letter by letter. */
export function withParameters (address: string, parameters: Record<string, string | undefined>) {
  const added = new URLSearchParams(Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined)).toString()
  if (added === '') return address
  return `${address}${address.includes('?') ? '&' : '?'}${added}`
}

/** Where a service begins: its home page, else the origin of its address; undefined for a data provider that has neither. */
export function homeOf ({ client_uri, redirect_uris: [address] }: { client_uri?: string | undefined, redirect_uris: readonly string[] }) {
  return client_uri ?? (address === undefined ? undefined : `${new URL(address).origin}/`)
}
