import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { tooMany } from './acts/load.ts'
import { probe } from './acts/probe.ts'
import { knowledge, providers } from './acts/providers.ts'
import { redis } from './acts/redis.ts'
import { replicas } from './acts/replicas.ts'
import { security } from './acts/security.ts'
import { play, type Played } from './play.ts'
import type { Act } from './trial.ts'

const acts: Act[] = [redis, providers, replicas, security, knowledge, tooMany, probe]
const { values, positionals } = parseArgs({ allowPositionals: true, options: { only: { type: 'string' }, report: { type: 'string' } } })
const say = (line: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${line}`)
const played: Played[] = []
for (const act of acts.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
  const one = await play(act, say, values.only === undefined ? undefined : new RegExp(values.only))
  played.push(one)
  console.log(JSON.stringify(one, null, 1))
}
if (values.report !== undefined) writeFileSync(values.report, JSON.stringify(played))
