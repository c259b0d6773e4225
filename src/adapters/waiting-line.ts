import { performance } from 'node:perf_hooks'
import { ranks, type Rank } from './load-gauge.ts'
import type { LoginBudget } from './login-budget.ts'

export interface LineOptions {
  /** delay, in milliseconds, that is too much */
  delayMs: number
  /** as many may wait of each rank */
  most: number
  /** how many logins may begin */
  budget: LoginBudget
}

/** What becomes of who waits: let in, or told to come again. Answers whether a login begins with it: somebody was still there. */
export type Enter = (isLetIn: boolean) => boolean

interface Waiting { since: number, enter: Enter }

/** As many are let in at one turn of the event loop, whoever comes: so it stays short, and whoever is sent away knows it soon. */
const mostAtATurn = 6
/** of those who ask for nothing, who cost more than they are worth; and as many are told to come again, which is what a flood of them waits for */
const mostOfNowhere = 2
const mostOfNowhereAway = 8
/** what is published is let in beside the others, too: it costs little, and clients need it for the logins that end */
const leastOfPublished = 2
/** How long each rank waits at most, as many times the delay that is too much: what has been worked for is not given up soon. */
const patience: Record<Rank, number> = { nowhere: 0.5, published: 50, beginning: 0.5, under_way: 50, ending: 50 }
/** but no longer than this, in milliseconds: balancers have a patience of their own */
const longestMs = 10_000
/** Those who begin all at once, when nobody has been sent away for a while, all wait until so many times the delay since the first of them came: a machine that is idle otherwise has a place for them. */
const surge = 6
const calmMs = 2000
/** Of a turn no more than this is looked at, in milliseconds: who was in line while the whole process stood still has not waited for others. */
const longestTurnMs = 50
/** as many who begin can be let in in a millisecond, where nobody has waited for a while */
const firstPace = 1
/** milliseconds over which that is averaged */
const memoryMs = 30
/** no turn is shorter, in milliseconds, whatever the clock says */
const shortest = 0.1

const bestFirst = ranks.toReversed()

/**
 * Those who came and cannot be let in at once: at each turn of the event loop some are, by rank, and who came first first. So whoever is on the way goes before all who are new, whatever comes; what is left
 * to these is known from turn to turn, and whoever would not be let in soon does not wait for it.
 */
export function waitingLine ({ delayMs, most, budget }: LineOptions, now = () => performance.now(), nextTurn: (turn: () => void) => unknown = setImmediate, soon: (turn: () => void) => unknown = setTimeout) {
  const lines = Object.fromEntries(ranks.map(rank => [rank, [] as Waiting[]])) as Record<Rank, Waiting[]>
  const surgeMs = Math.min(longestMs, surge * delayMs)
  let pace = firstPace
  let letIn = 0
  let waiting = 0
  let isTurning = false
  /** when the last turn was, and what the time is then in the line, where none of it passes while the process stands still */
  let turnedAt = now()
  let time = 0
  /** when the last of those who begin was sent away, and until when they all wait */
  let awayAt = -Infinity
  let surgeEnd = -Infinity

  /** Lets in whoever comes while there is room and nobody waits who goes first; has everybody else wait, if it is worth while. */
  function join (rank: Rank, enter: Enter) {
    if (letIn < mostAtATurn && isNext(rank) && roomFor(rank) > 0) {
      letIn++
      turnBy(nextTurn)
      return welcome(rank, enter)
    }
    if (waiting === 0) learn(firstPace, pass(Infinity))
    const at = time + Math.min(now() - turnedAt, longestTurnMs)
    const own = lines[rank]
    if (rank === 'beginning' && own.length === 0) surgeEnd = at - awayAt > calmMs ? at + surgeMs : -Infinity
    if (own.length >= mostWaiting(rank, at)) return sendAway(rank, at, enter)
    waiting++
    own.push({ since: at, enter })
    turnBy(nextTurn)
  }

  /** Goes on with the time by what has passed since the last turn, or as much of it as is looked at. */
  function pass (mostMs: number) {
    const at = now()
    const passed = Math.min(at - turnedAt, mostMs)
    turnedAt = at
    time += passed
    return passed
  }

  function sendAway (rank: Rank, at: number, enter: Enter) {
    if (rank === 'beginning') awayAt = at
    enter(false)
  }

  function roomFor (rank: Rank) {
    const room = Math.max(mostAtATurn - letIn, rank === 'published' ? leastOfPublished : 0)
    return rank === 'beginning' ? Math.min(room, budget.left()) : room
  }

  const isNext = (rank: Rank) => bestFirst.slice(0, bestFirst.indexOf(rank) + 1).every(better => lines[better].length === 0)

  function welcome (rank: Rank, enter: Enter) { if (enter(true) && rank === 'beginning') budget.begin() }

  /** Of those who begin as many as will be let in soon. Those who ask for nothing wait all the same: whoever sends them has so many fewer to send. */
  function mostWaiting (rank: Rank, at: number) {
    if (rank !== 'beginning') return most
    const withinMs = Math.max(patienceMs(rank), surgeEnd - at)
    return 1 + Math.min(most, Math.floor(Math.min(pace * withinMs, budget.left() + budget.pace * withinMs)))
  }

  const patienceMs = (rank: Rank) => Math.min(longestMs, delayMs * patience[rank])
  const isInTime = (rank: Rank, since: number, at: number) => at - since < patienceMs(rank) || (rank === 'beginning' && at < surgeEnd)

  /** Takes into account what the pace was for so many milliseconds. */
  function learn (was: number, milliseconds: number) { pace += (was - pace) * (1 - Math.exp(-milliseconds / memoryMs)) }

  function turnBy (schedule: typeof nextTurn) {
    if (isTurning) return
    isTurning = true
    schedule(turn)
  }

  function turn () {
    isTurning = false
    letIn = 0
    if (waiting === 0) return
    const passed = pass(longestTurnMs)
    const at = time
    const answers = bestFirst.flatMap(rank => {
      const line = lines[rank]
      const room = roomFor(rank)
      if (rank === 'beginning') learn(room / Math.max(shortest, passed), passed)
      const first = line.splice(0, rank === 'nowhere' ? Math.min(room, mostOfNowhere) : room)
      letIn += first.length
      const inTime = line.findIndex(({ since }) => isInTime(rank, since, at))
      const late = inTime < 0 ? line.length : inTime
      const away = line.splice(0, rank === 'nowhere' ? Math.min(late, mostOfNowhereAway) : late)
      away.push(...line.splice(mostWaiting(rank, at)))
      return [...first.map(({ enter }) => () => welcome(rank, enter)), ...away.map(({ enter }) => () => sendAway(rank, at, enter))]
    })
    waiting -= answers.length
    turnBy(letIn < mostAtATurn ? soon : nextTurn)                        // with room left nobody waits for a turn, but for time
    for (const answer of answers) answer()
  }

  return { join, get waiting () { return waiting } }
}
