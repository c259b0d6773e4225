import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { eventIn, spellingsOf, storyOf, told, type Kept } from './explain/story.ts'

// npm run explain -- ID [FILE …]: what the log tells of a login, in words; ID is that of a login, or what a citizen reads on an error page. Without files the log is read from stdin.

const usage = `npm run explain -- ID [FILE …]
  ID     of a login, or of a request as an error page shows it
  FILE   lines of the log, of every replica and site; without any, stdin`

const [id, ...files] = process.argv.slice(2)
if (id === undefined || id === '-h' || id === '--help') {              // an id may begin with a hyphen
  console.error(usage)
  process.exit(2)
}

let read = 0

/** The events of all lines in which one of these texts stands: a day's log has more than fits in memory. */
async function eventsWith (texts: readonly string[]) {
  const events: Kept[] = []
  for (const input of files.length === 0 ? [process.stdin] : files.map(file => createReadStream(file))) {
    for await (const line of createInterface({ input, crlfDelay: Infinity })) {
      if (!line.includes('"event":')) continue
      read++
      const event = texts.some(text => line.includes(text)) ? eventIn(line) : undefined
      if (event !== undefined) events.push(event)
    }
  }
  return events
}

async function find (id: string) {
  // what is piped in comes once
  const story = storyOf(await eventsWith(files.length === 0 ? [''] : spellingsOf(id)), id)
  return story?.login === undefined || files.length === 0 ? story : storyOf(await eventsWith([story.login]), story.login)
}

const story = await find(id).catch((error: NodeJS.ErrnoException) => {
  if (error.code === undefined) throw error
  console.error(`${error.path}: cannot be read (${error.code})`)
  process.exit(2)
})
if (story === undefined) {
  console.error(`nothing is known of ${id}: ${read} events were read${read === 0 ? ', none at all: are these lines of the gateway\'s log?' : ', of other logins. Are the logs of every replica and site here, and of that time?'}`)
  process.exit(1)
}
console.log(told(story))
