import { readFileSync, writeFileSync } from 'node:fs'
import { IsOptional, type TSchema } from 'typebox'
import { failures, type Failure } from '../protocol/errors.ts'
import { EventLine, steps } from '../protocol/events.ts'

// npm run docs: writes the reference of the events, between two marks of docs/events.md, and their JSON Schema.

const begin = '<!-- made by npm run docs -->'
const end = '<!-- until here -->'
const page = new URL('../../docs/events.md', import.meta.url)
const schema = new URL('../../docs/events.schema.json', import.meta.url)

const row = (...cells: string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
const table = (head: string[], rows: string[][]) => [row(...head), row(...head.map(() => '---')), ...rows.map(cells => row(...cells))].join('\n')

/** The tables of events and members (Markdown). */
export function eventTables (): string {
  const members = Object.entries(EventLine.properties as Record<string, TSchema & { description?: string, enum?: unknown[] }>)
  const security = (Object.keys(failures) as Failure[]).filter(failure => 'security' in failures[failure])
  return [
    '### Steps', '',
    table(['step', '`event`', 'what happened'], Object.entries(steps).map(([name, { step, what }]) => [step, `\`${name}\``, what])), '',
    '### Security events', '',
    'A failure that may be an attack has an event of its own name, in place of the step that it kept from happening:', '',
    `${security.map(failure => `\`${failure}\``).join(', ')}.`, '',
    '### Members', '',
    table(['member', 'what it is', ''], members.map(([name, property]) => [`\`${name}\``, property.description ?? '', IsOptional(property) ? '' : 'always']))
  ].join('\n')
}

/** A page with the tables in the place that is kept for them. */
export function withTables (text: string): string {
  const [before, rest] = text.split(begin) as [string, string]
  return `${before}${begin}\n\n${eventTables()}\n\n${end}${rest.split(end)[1]}`
}

/** The schema of an event, for whoever reads the log by program (JSON Schema). */
export const eventSchema = () => `${JSON.stringify({ $schema: 'https://json-schema.org/draft/2020-12/schema', title: 'An event in the log of Passerelle', ...EventLine }, null, 2)}\n`

if (import.meta.main) {
  writeFileSync(page, withTables(readFileSync(page, 'utf8')))
  writeFileSync(schema, eventSchema())
}
