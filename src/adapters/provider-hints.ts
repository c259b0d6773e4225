import { randomBytes } from 'node:crypto'
import type { Clock, Noticeboard, Sealer } from '../ports.ts'
import { life } from '../records.ts'
import { digestOf } from './handles.ts'

export interface HintsOptions {
  /** replicas of one gateway have one issuer */
  issuer: string
  board: Noticeboard
  sealer: Sealer
  now: Clock
  /** whether there is such a provider here */
  knows (idp: string): boolean
  /** another replica could not reach this provider */
  take (idp: string): void
  count (idp: string, way: 'given' | 'taken' | 'ignored'): void
}

const betweenGivenMs = 25_000
const betweenTakenMs = { ofOneReplica: 30_000, ofAll: 10_000 }
const mostSenders = 1000

/**
 * Hints among replicas that an identity provider is down, sealed, since whoever can write to Redis is not a replica. A hint shuts nothing: whoever takes it asks the
 * provider itself. One replica is listened to each half minute for each provider, so that a sick one keeps nobody on edge.
 */
export function providerHints ({ issuer, board, sealer, now, knows, take, count }: HintsOptions) {
  const channel = `passerelle:provider-hints:${digestOf(issuer)}`
  const replica = randomBytes(9).toString('base64url')
  const given = new Map<string, number>()
  const taken = new Map<string, number>()
  const isSoonAfter = (times: Map<string, number>, name: string, milliseconds: number) => performance.now() - (times.get(name) ?? -Infinity) < milliseconds

  board.hear(channel, message => {
    const hint = sealer.open('hint', channel, message)?.record
    if (hint === undefined || hint.replica === replica || !knows(hint.idp)) return
    const { idp } = hint
    const sender = `${hint.replica} ${idp}`
    if (isSoonAfter(taken, sender, betweenTakenMs.ofOneReplica) || isSoonAfter(taken, idp, betweenTakenMs.ofAll)) return count(idp, 'ignored')
    for (const name of [sender, idp]) {
      taken.delete(name)
      taken.set(name, performance.now())
    }
    while (taken.size > mostSenders) taken.delete(taken.keys().next().value!)
    count(idp, 'taken')
    take(idp)
  })

  /** Tells the other replicas, unless it was just done. */
  return (idp: string) => {
    if (isSoonAfter(given, idp, betweenGivenMs)) return
    given.set(idp, performance.now())
    count(idp, 'given')
    board.tell(channel, sealer.seal('hint', channel, { replica, idp }, now() + life.hint))
  }
}
