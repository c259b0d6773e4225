import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The path of the oldest Node.js that is promised, installed by `npm run setup`. @throws {Error} where there is none, since no test is skipped in silence */
export function node24 (): string {
  const path = fileURLToPath(new URL('../node-24/node_modules/.bin/node', import.meta.url))
  if (!existsSync(path)) throw new Error(`no Node.js 24 for ${process.platform} ${process.arch} at ${path}: run npm run setup`)
  return path
}
