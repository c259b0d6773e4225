import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { loadGauge, ranks } from '../../src/adapters/load-gauge.ts'

// By a clock that stands still unless a turn of the event loop is said to have taken so long.

function gaugeOf (t: Test, { delayMs = 40, inFlight = 1000 } = {}) {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  let [at, idle] = [0, 0]
  const gauge = loadGauge({ delayMs, inFlight }, () => at, () => idle)
  gauge.start()
  return {
    gauge,
    /** One turn of the loop after another, of which the loop had nothing to do for so long. */
    turns (count: number, milliseconds: number, idleMs = 0) {
      for (let n = 0; n < count; n++) {
        at += milliseconds
        idle += idleMs
        mock.timers.tick(10)
      }
    },
    within (milliseconds: number) { at += milliseconds },
    sentAway: () => ranks.filter(rank => gauge.isTooMuchFor(rank))
  }
}

t.test('a pause, however long, sends nobody away, nor do several a second apart', async t => {
  const { gauge, turns, sentAway } = gaugeOf(t)
  for (const pauseMs of [60, 300, 5000, 300, 60]) {
    turns(1, pauseMs)
    t.same(sentAway(), [])
    turns(3, 15)
    turns(100, 12, 8)
  }
  t.equal(gauge.pressure, 0)
})

t.test('a core that others use makes the loop late, and sends nobody away while the loop has nothing left to do', async t => {
  const { gauge, turns, sentAway } = gaugeOf(t)
  turns(200, 90, 40)
  t.ok(gauge.delaySeconds > 0.04)
  t.equal(gauge.pressure, 0)
  t.same(sentAway(), [])
  turns(5, 90)
  t.ok(gauge.pressure > 0, 'until there is')
})

t.test('short turns without any rest send nobody away: whoever asks is answered soon', async t => {
  const { turns, sentAway } = gaugeOf(t)
  turns(1000, 18)
  t.same(sentAway(), [])
})

t.test('the pressure rises no more once the loop is prompt, stays until it has been so for a while, and falls then, or as soon as there is rest', async t => {
  const { gauge, turns } = gaugeOf(t)
  turns(20, 100)
  const risen = gauge.pressure
  t.ok(risen > 0)
  turns(100, 10)
  t.equal(gauge.pressure, risen)
  t.ok(gauge.delaySeconds > 0.02 && gauge.delaySeconds < 0.04)
  turns(100, 10)
  t.ok(gauge.pressure < risen)
  turns(20, 100)
  const again = gauge.pressure
  t.ok(again > risen)
  turns(5, 100, 40)
  t.ok(gauge.pressure < again)
})

t.test('where that does not help, those under way go, too, and at last everybody; all come back when it is over', async t => {
  const { gauge, turns, sentAway } = gaugeOf(t)
  turns(10, 100)
  t.ok(gauge.pressure < 1)
  t.same(sentAway().filter(rank => rank.includes('_') || rank === 'ending'), [])
  turns(25, 100)
  t.ok(gauge.pressure > 1.5 && gauge.pressure < 3)
  const some = Array.from({ length: 100 }, sentAway)
  t.ok(some.some(ranks => ranks.includes('under_way')))
  turns(20, 100)
  t.same(sentAway(), ranks)
  turns(700, 12, 6)
  t.equal(gauge.pressure, 0)
  t.same(sentAway(), [])
})

t.test('with so many in flight each rank has its own limit', async t => {
  const { gauge, sentAway } = gaugeOf(t, { inFlight: 2 })
  gauge.came()
  t.same(sentAway(), [])
  gauge.came()
  t.same(sentAway(), ['nowhere', 'beginning'])
  gauge.came()
  t.same(sentAway(), ['nowhere', 'beginning', 'under_way'])
  gauge.came()
  t.same(sentAway(), ranks)
  for (let n = 0; n < 4; n++) gauge.went()
  t.same(sentAway(), [])
})
