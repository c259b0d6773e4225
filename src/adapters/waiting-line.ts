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

/** Those of one rank. */
interface Line {
  waiting: Array<{ since: number, enter: Enter }>
  /** as many of them can be let in in a millisecond */
  pace: number
}

/** As many are let in at one turn of the event loop, whoever comes: so it stays short, and whoever is sent away knows it soon. */
const mostAtATurn = 8
/** of those who ask for nothing, who cost more than they are worth; and as many are told to come again, which is what a flood of them waits for */
const mostOfNowhere = 2
const mostOfNowhereAway = 8
/** what is published is let in beside the others, too: it costs little, and clients need it for the logins that end */
const leastOfPublished = 2
/** How long each rank waits at most, as many times the delay that is too much: what has been worked for is not given up soon. */
const patience: Record<Rank, number> = { nowhere: 1, published: 50, beginning: 1, under_way: 25, ending: 50 }
/** but no longer than this, in milliseconds: balancers have a patience of their own */
const longestMs = 10_000
/** Who would wait for longer than this part of it is told so at once. */
const joinable = 1 / 2
/** what the pace is where nobody has waited for a while */
const firstPace = 1
/** milliseconds over which it is averaged */
const memoryMs = 100
/** no turn is shorter, in milliseconds, whatever the clock says */
const shortest = 0.1

const bestFirst = ranks.toReversed()

/**
 * Those who came and cannot be let in at once: at each turn of the event loop some are, by rank, and who came first first. So whoever is on the way goes before all who are new, whatever comes; what is left
 * to these is known from turn to turn, and whoever would not be let in soon does not wait for it.
 */
export function waitingLine ({ delayMs, most, budget }: LineOptions, now = () => performance.now(), nextTurn: (turn: () => void) => unknown = setImmediate, soon: (turn: () => void) => unknown = setTimeout) {
  const lines = Object.fromEntries(ranks.map(rank => [rank, { waiting: [], pace: firstPace }])) as unknown as Record<Rank, Line>
  let letIn = 0
  let waiting = 0
  let isTurning = false
  let turnedAt = -Infinity

  /** Lets in whoever comes while there is room and nobody waits who goes first; has everybody else wait, if it is worth while. */
  function join (rank: Rank, enter: Enter) {
    if (letIn < mostAtATurn && isNext(rank) && roomFor(rank) > 0) {
      letIn++
      turnBy(nextTurn)
      return welcome(rank, enter)
    }
    const at = now()
    if (waiting === 0) {
      for (const line of Object.values(lines)) learn(line, firstPace, at - turnedAt)
      turnedAt = at
    }
    const { waiting: own } = lines[rank]
    if (own.length >= mostWaiting(rank)) {
      enter(false)
      return
    }
    waiting++
    own.push({ since: at, enter })
    turnBy(nextTurn)
  }

  function roomFor (rank: Rank) {
    const room = Math.max(mostAtATurn - letIn, rank === 'published' ? leastOfPublished : 0)
    return rank === 'beginning' && room > 0 ? Math.min(room, budget.left()) : room
  }

  const isNext = (rank: Rank) => waiting === 0 || bestFirst.slice(0, bestFirst.indexOf(rank) + 1).every(better => lines[better].waiting.length === 0)

  function welcome (rank: Rank, enter: Enter) { if (enter(true) && rank === 'beginning') budget.begin() }

  /** As many as will be let in soon. Those who ask for nothing wait all the same: whoever sends them has so many fewer to send. */
  function mostWaiting (rank: Rank) {
    if (rank === 'nowhere') return most
    const withinMs = patienceMs(rank) * joinable
    const room = lines[rank].pace * withinMs
    return 1 + Math.min(most, Math.floor(rank === 'beginning' ? Math.min(room, budget.left() + budget.pace * withinMs) : room))
  }

  const patienceMs = (rank: Rank) => Math.min(longestMs, delayMs * patience[rank])

  function turnBy (schedule: typeof nextTurn) {
    if (isTurning) return
    isTurning = true
    schedule(turn)
  }

  function turn () {
    isTurning = false
    letIn = 0
    if (waiting === 0) return
    const at = now()
    const passed = Math.max(shortest, at - turnedAt)
    turnedAt = at
    const answers = bestFirst.flatMap(rank => {
      const line = lines[rank]
      const room = roomFor(rank)
      learn(line, room / passed, passed)
      const first = line.waiting.splice(0, rank === 'nowhere' ? Math.min(room, mostOfNowhere) : room)
      letIn += first.length
      const inTime = line.waiting.findIndex(({ since }) => at - since < patienceMs(rank))
      const late = inTime < 0 ? line.waiting.length : inTime
      const away = line.waiting.splice(0, rank === 'nowhere' ? Math.min(late, mostOfNowhereAway) : late)
      if (rank === 'beginning') away.push(...line.waiting.splice(mostWaiting(rank)))
      return [...first.map(({ enter }) => () => welcome(rank, enter)), ...away.map(({ enter }) => () => { enter(false) })]
    })
    waiting -= answers.length
    turnBy(letIn < mostAtATurn ? soon : nextTurn)                        // with room left nobody waits for a turn, but for time
    for (const answer of answers) answer()
  }

  return { join, get waiting () { return waiting } }
}

/** Takes into account what the pace was for so many milliseconds. */
function learn (line: Line, pace: number, milliseconds: number) { line.pace += (pace - line.pace) * (1 - Math.exp(-milliseconds / memoryMs)) }
