/** An address with these parameters added (RFC 6749 §4.1.2), otherwise as it was registered, letter by letter. */
export function withParameters (address: string, parameters: Record<string, string | undefined>) {
  const added = new URLSearchParams(Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined)).toString()
  if (added === '') return address
  return `${address}${address.includes('?') ? '&' : '?'}${added}`
}

/** Where a service begins: its home page, else the origin of its address. */
export const homeOf = ({ client_uri, redirect_uris }: { client_uri?: string | undefined, redirect_uris: readonly string[] }) => client_uri ?? `${new URL(redirect_uris[0]!).origin}/`
