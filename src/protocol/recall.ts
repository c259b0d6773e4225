import type { Recall } from '../records.ts'
import { replicaClockTolerance } from './clock.ts'

/** What a recall may be of: when a provider vouched for somebody, and when something was issued to a client. */
export interface Recallable { idp: string, identifiedAt: number, client_id?: string | undefined, issuedAt?: number | undefined }

/** Whether an operator called this back: all of a provider, or all of a client, in a span of time; replicas' clocks may differ. */
export const isRecalled = (recalls: readonly Recall[], { idp, identifiedAt, client_id, issuedAt = identifiedAt }: Recallable) => recalls.some(recall => {
  const at = recall.idp === undefined ? issuedAt : identifiedAt
  const isMeant = recall.idp === undefined ? recall.client_id !== undefined && recall.client_id === client_id : recall.idp === idp
  return isMeant && at >= recall.since - replicaClockTolerance && at <= recall.until + replicaClockTolerance
})
