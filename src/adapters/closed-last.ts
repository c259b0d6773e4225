import type { Upstream } from '../ports.ts'

/** An identity provider that can be closed when the last call of a citizen on it has come to an end. */
export function closedLast<P extends Upstream> (provider: P): P & { closeLast (): Promise<void> } {
  const underWay = new Set<Promise<unknown>>()
  const held = <T>(call: Promise<T>) => {
    const ended: Promise<unknown> = call.then(() => {}, () => {}).finally(() => underWay.delete(ended))
    underWay.add(ended)
    return call
  }
  return {
    ...provider,
    authorizationUrl: question => held(provider.authorizationUrl(question)),
    identify: (...asked) => held(provider.identify(...asked)),
    endSessionUrl: logout => held(provider.endSessionUrl(logout)),
    async closeLast () {
      while (underWay.size > 0) await Promise.all(underWay)
      await provider.close()
    }
  }
}
