import t from 'tap'
import { replicaClockTolerance as tolerance } from '../../src/protocol/clock.ts'
import { isRecalled, type Recallable } from '../../src/protocol/recall.ts'
import type { Recall } from '../../src/records.ts'

const since = 1771000000
const until = since + 3600
const taxes: Recall = { idp: 'taxes', since, until }
const town: Recall = { client_id: 'town', since, until }
const token: Recallable = { idp: 'taxes', identifiedAt: since + 10, client_id: 'town', issuedAt: since + 20 }

t.test('what was called back is all of that provider or client in that span, the clocks of replicas apart', async t => {
  const table: Array<[what: string, recall: Recall, record: Recallable, recalled: boolean]> = [
    ['of the provider', taxes, token, true],
    ['of another provider', taxes, { ...token, idp: 'post' }, false],
    ['whose citizen came back before', taxes, { ...token, identifiedAt: since - tolerance - 1 }, false],
    ['just as it began, by another clock', taxes, { ...token, identifiedAt: since - tolerance }, true],
    ['as it was called back, by another clock', taxes, { ...token, identifiedAt: until + tolerance }, true],
    ['whose citizen came back since', taxes, { ...token, identifiedAt: until + tolerance + 1 }, false],
    ['issued since, of one who came back within', taxes, { ...token, issuedAt: until + 7200 }, true],
    ['of the client', town, token, true],
    ['of another client', town, { ...token, client_id: 'agency' }, false],
    ['issued before', town, { ...token, issuedAt: since - tolerance - 1 }, false],
    ['issued since', town, { ...token, issuedAt: until + tolerance + 1 }, false],
    ['issued within, of one who came back long before', town, { ...token, identifiedAt: since - 7200 }, true],
    ['a session that the client opened', town, { idp: 'taxes', identifiedAt: since + 10, client_id: 'town' }, true],
    ['an identity, which is no client\'s', town, { idp: 'taxes', identifiedAt: since + 10 }, false],
    ['of a key, also to a release that does not know of such', { kid: 'rs256-1', since, until }, { ...token, client_id: undefined }, false],
    ['of nothing', { since, until }, { idp: 'taxes', identifiedAt: since + 10 }, false]
  ]
  for (const [what, recall, record, recalled] of table) t.equal(isRecalled([recall], record), recalled, what)
})

t.test('one of several is enough, and none is none', async t => {
  t.equal(isRecalled([], token), false)
  t.equal(isRecalled([{ ...taxes, idp: 'post' }, town], token), true)
  t.equal(isRecalled([{ ...taxes, idp: 'post' }, { ...town, client_id: 'agency' }], token), false)
})
