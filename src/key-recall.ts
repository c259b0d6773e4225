import type { SealingKey } from './adapters/keyring-sealer.ts'
import { ConfigurationError } from './config/load.ts'
import { addressesOf, close, configurationOf, everywhereAt, leaveBeside, leaveRecall, now, sealerBy, sitesAt, tell, tellerAmong, toldBefore, type Left, type Teller } from './every-site.ts'
import type { Store } from './ports.ts'
import { instant } from './protocol/clock.ts'
import type { Recall } from './records.ts'

// A key that is taken away is called back as well: replicas leave it out within seconds, whether or not they have the files yet.

const byFiles = 'the files alone carry it: within 10 seconds to replicas that read that very directory; a Secret of Kubernetes takes up to two minutes to reach pods that run'
const again = 'run this again, with --unlisted'

/**
 * Has the files of a key taken away, and tells every site that it is called back. What was called back before and that key sealed is left again by another, before it can be forgotten with it. Answers whether
 * every site was told.
 */
export async function callBackKey (kid: string, takeAway: () => void): Promise<boolean> {
  const reached = reach()
  if (reached instanceof ConfigurationError) {
    takeAway()
    console.log(`no site was told: ${reached.problems.join('; ')}`)
    console.log(byFiles)
    return false
  }
  const { issuer, ring, sites } = reached

  try {
    const sealedByIt = new Map<Store, Left[]>()
    const calledBack = new Set<string>()
    const read = await tell(sites, async store => {
      const left = await toldBefore(store, sealerBy(issuer, ...ring))
      for (const { opened } of left) if (opened?.record.kid !== undefined) calledBack.add(opened.record.kid)
      const byIt = left.filter(({ by }) => by === kid)
      const lefts = byIt.flatMap(({ opened }) => opened === undefined ? [] : [{ recall: opened.record, exp: opened.exp }])
      sealedByIt.set(store, lefts)
      return byIt.length === lefts.length ? [] : [`${byIt.length - lefts.length} recalls that ${kid} sealed cannot be opened here: give their commands again`]
    }, again)
    // replicas are without a key that was called back, though its file be still here
    const isLeft = (key: SealingKey) => key.kid !== kid && !calledBack.has(key.kid)
    const other = tellerAmong(ring, key => isLeft(key) && everywhereAt(key) <= now())
    const beside = (by: Teller) => tell(read, async store => {
      await Promise.all(sealedByIt.get(store)!.map(left => leaveBeside(store, issuer, by.key, left)))
      return []
    }, again)
    const kept = other === undefined ? read : await beside(other)
    takeAway()

    if (other === undefined) {
      console.log(`no site was told: there is no other sealing key that replicas have (one counts a quarter of an hour after it was made); ${byFiles}`)
      const made = tellerAmong(configurationOf(process.env).keys.sealing, isLeft)
      if (made !== undefined) await beside(made)
      return false
    }
    const recall = { kid, since: now(), until: now() }
    const told = await tell(kept, async store => {
      const lefts = sealedByIt.get(store)!
      await leaveRecall(store, issuer, other.key, { recall, exp: other.until })
      await Promise.all(lefts.map(left => leaveRecall(store, issuer, other.key, left)))  // in place of what nobody opens any more
      return [
        `told; within 10 seconds no replica uses ${kid}, whatever its files say, until ${instant(other.until)}: by then it must have them`,
        ...lefts.map(({ recall }) => `called back before, and left again: ${said(recall)}`)
      ]
    }, again)
    if (told.size < sites.size) console.log(`where a site was not told, ${byFiles}`)
    return told.size === sites.size
  } finally { await close(sites) }
}

/** What can be told, and by which keys; why not. */
function reach () {
  try {
    const configuration = configurationOf(process.env)
    const { settings: { issuer }, keys: { sealing: ring } } = configuration
    const sites = sitesAt(addressesOf(configuration, process.env), sealerBy(issuer, ...ring))
    return { issuer, ring, sites }
  } catch (error) {
    if (error instanceof ConfigurationError) return error
    throw error
  }
}

const said = ({ idp, client_id, kid, since, until }: Recall) => kid !== undefined
  ? `the key ${kid}`
  : `${idp === undefined ? `the service ${client_id}` : `the identity provider ${idp}`}, from ${instant(since)} to ${instant(until)}`
