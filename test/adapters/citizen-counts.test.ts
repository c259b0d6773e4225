import { createSecretKey } from 'node:crypto'
import t, { type Test } from 'tap'
import { citizenCounts, type CitizenCount, type CountedLogin } from '../../src/adapters/citizen-counts.ts'
import { loneNoticeboard, redisNoticeboard } from '../../src/adapters/redis-noticeboard.ts'
import { startCluster, startRedis, until, type RedisNodes } from '../support/redis.ts'

// How many citizens there are, as replicas count them together.

t.setTimeout(90_000)

const november = Date.UTC(2026, 10, 15) / 1000
const end = Date.UTC(2026, 11, 1) / 1000
// an estimate of a few is exact unless two fall together: these do not
const secret = createSecretKey(Buffer.alloc(32, 1))
const salt = 'of the month'
const names = { idp: ['vitalys', 'terramut'], acr: ['eidas1'], client_id: ['town', 'other'] }
const person = (i: number | string) => `the person that a pivot identity gives: ${i}`
const login = (i: number | string, { idp = 'vitalys', client_id = 'town' } = {}): CountedLogin => ({ person: person(i), idp, acr: 'eidas1', client_id })

/** A replica that counts, by a clock that the test moves. */
async function replica (t: Test, { urls }: { urls: readonly string[] }, { at = november, salt = '' } = {}) {
  const board = redisNoticeboard({ urls })
  t.teardown(() => board.close())
  await until('the board is connected', 10_000, () => board.pin('knowledge:{x}', 'here', 60))
  if (salt !== '') await board.pinFirst('citizens:{2026-11}:salt', salt, 3600)
  const state = { at, lost: 0 }
  const counts = citizenCounts({ board, secret: () => secret, now: () => state.at, onLost: logins => { state.lost += logins } })
  const size = async (by?: CitizenCount['by'], name?: string, month = '2026-11') => (await counts.read(names))?.find(count => count.month === month && count.by === by && count.name === name)?.citizens
  return { ...counts, state, size }
}

async function counts (t: Test, nodes: RedisNodes) {
  const [one, other] = [await replica(t, nodes, { salt }), await replica(t, nodes)]
  t.same(await one.read(names), [], 'nobody yet, and nothing is said of what is not there')
  for (let i = 0; i < 10; i++) for (const counting of [one, other]) counting.add(login(i))
  one.add(login('alone', { idp: 'terramut', client_id: 'other' }))
  other.add(login(0, { idp: 'terramut' }))
  t.same(await one.read(names), [], 'nothing is sent with a login')
  await Promise.all([one.flush(), other.flush(), other.flush()])
  t.same((await other.read(names))?.sort((a, b) => `${a.by}${a.name}` < `${b.by}${b.name}` ? -1 : 1), [
    { month: '2026-11', by: 'acr', name: 'eidas1', citizens: 11 },
    { month: '2026-11', by: 'client_id', name: 'other', citizens: 1 },
    { month: '2026-11', by: 'client_id', name: 'town', citizens: 10 },
    { month: '2026-11', by: 'idp', name: 'terramut', citizens: 2 },
    { month: '2026-11', by: 'idp', name: 'vitalys', citizens: 10 },
    { month: '2026-11', citizens: 11 }
  ], 'each citizen once, whichever replica and however often')
}

t.test('citizens are counted once, whichever replica lets them in and however often: one Redis', async t => counts(t, await startRedis(t)))
t.test('citizens are counted once, whichever replica lets them in and however often: a Cluster of three', async t => counts(t, await startCluster(t)))

t.test('of thousands the estimate is within a few in a hundred', async t => {
  const redis = await startRedis(t)
  const counting = await replica(t, redis, { salt })
  for (let i = 0; i < 20_000; i++) counting.add(login(i % 8000))
  await counting.flush()
  const size = await counting.size() ?? 0
  t.ok(Math.abs(size - 8000) < 320, `${size} of 8000`)
})

t.test('what Redis holds names nobody, tells no two months together, and dies', async t => {
  const redis = await startRedis(t)
  const counting = await replica(t, redis)
  counting.add(login(1))
  counting.state.at = end + 60
  counting.add(login(1))
  await counting.flush()
  t.same([await counting.size(undefined, undefined, '2026-11'), await counting.size(undefined, undefined, '2026-12')], [1, 1], 'what waited over the end is of the month in which it came')
  const kept = (await redis.allValues()).filter(({ key }) => key.startsWith('citizens:'))
  t.same(kept.map(({ key }) => key).sort(), ['2026-11', '2026-12'].flatMap(month => [`citizens:{${month}}`, `citizens:{${month}}:acr:eidas1`, `citizens:{${month}}:client_id:town`, `citizens:{${month}}:idp:vitalys`, `citizens:{${month}}:salt`]))
  const value = (key: string) => kept.find(entry => entry.key === key)!.values.join()
  t.not(value('citizens:{2026-11}:salt'), value('citizens:{2026-12}:salt'))
  t.not(value('citizens:{2026-11}'), value('citizens:{2026-12}'), 'one citizen is another one in another month')
  t.notMatch(kept.flatMap(({ values }) => values).join(), /person|pivot/)
  const seconds = (key: string) => kept.find(entry => entry.key === key)!.seconds
  t.ok(seconds('citizens:{2026-11}:salt') <= 600, 'the salt of a month that is over')
  t.ok(seconds('citizens:{2026-12}:salt') <= 31 * 86_400 + 600)
  t.ok(seconds('citizens:{2026-11}') <= 31 * 86_400 + 600 && seconds('citizens:{2026-11}') > 30 * 86_400, 'a month is looked at for one more')
})

t.test('while Redis is away logins wait to be counted, as many as we let, and are noted when it is back', async t => {
  const redis = await startRedis(t)
  const counting = await replica(t, redis, { salt })
  redis.freeze(0)
  for (let i = 0; i < 50_003; i++) counting.add(login(i % 100))
  await counting.flush()
  t.equal(await counting.read(names), undefined, 'it cannot be said')
  t.equal(counting.state.lost, 3)
  redis.thaw(0)
  await until('all are noted', 10_000, async () => { await counting.flush(); return Number(await counting.size()) > 95 })
  const noted = Number(await counting.size())
  counting.add(login('one more'))
  await counting.flush()
  t.equal(await counting.size(), noted + 1)
  t.equal(counting.state.lost, 3, 'there is room again')
})

t.test('what Redis refused is noted the next time', async t => {
  const redis = await startRedis(t)
  const counting = await replica(t, redis, { salt })
  await redis.command(0, 'SET', 'citizens:{2026-11}', 'no set')
  counting.add(login(1))
  await counting.flush()
  await redis.command(0, 'DEL', 'citizens:{2026-11}')
  await counting.flush()
  t.equal(await counting.size(), 1)
})

t.test('a salt that Redis lost is set again by who knows it, so that nobody is counted anew', async t => {
  const redis = await startRedis(t)
  const counting = await replica(t, redis)
  counting.add(login(1))
  await counting.flush()
  await redis.command(0, 'DEL', 'citizens:{2026-11}:salt')
  counting.add(login(1))
  await counting.flush()
  t.equal(await counting.size(), 1)
  const late = await replica(t, redis)
  late.add(login(1))
  await late.flush()
  t.equal(await late.size(), 1)
})

t.test('alone, without a Redis, nothing is counted, and nothing grows beyond what waits', async t => {
  let lost = 0
  const counting = citizenCounts({ board: loneNoticeboard, secret: () => secret, now: () => november, onLost: logins => { lost += logins } })
  counting.add(login(1))
  await counting.flush()
  t.equal(await counting.read(names), undefined)
  t.equal(lost, 0)
})
