import { readFileSync, writeFileSync } from 'node:fs'
import { IsArray, IsObject, IsOptional, type TObject, type TSchema } from 'typebox'
import { Client, IdentityProvider, Settings } from './schema.ts'

// npm run docs: writes docs/configuration.md, the reference page of the schema. With --check it only says whether the page is what it should be.

interface Described { description?: string, default?: unknown, enum?: string[], minimum?: number, maximum?: number, type?: string, atStart?: true }

/** The reference page (Markdown) of the configuration's three kinds of file. */
export function referencePage () {
  return [
    '# Configuration',
    '',
    'A configuration is a directory. Every file is one object; paths of files are relative to the directory. `npm run check-config -- DIR` says what is wrong with one, by file and path.',
    'A change is taken up while the gateway runs, all of it or nothing: see [reload.md](reload.md). This page is made from the schema by `npm run docs`.',
    '',
    ...section('passerelle.yaml', 'The gateway itself.', Settings),
    ...section('clients/*.yaml', 'One service a file.', Client),
    ...section('identity-providers/*.yaml', 'One identity provider a file.', IdentityProvider)
  ].join('\n')
}

const section = (file: string, what: string, schema: TObject) => [
  `## ${file}`, '', what, '', '| setting | what it is | default |', '| --- | --- | --- |', ...rows(schema, ''), ''
]

function rows (schema: TObject, before: string): string[] {
  return Object.entries(schema.properties as Record<string, TSchema>).flatMap(([name, property]) => {
    const path = before + name
    const { description = '', enum: values, default: fallback, minimum, maximum, atStart } = property as Described
    const range = minimum !== undefined && maximum !== undefined ? ` (${minimum} to ${maximum})` : ''
    const inner = IsArray(property) ? property.items as TSchema & Described : undefined
    const choice = values ?? inner?.enum
    const told = `${description}${range}${choice === undefined ? '' : `: ${choice.map(value => `\`${value}\``).join(', ')}`}${atStart === true ? '; **takes effect at the next start**' : ''}`
    const needed = fallback !== undefined && !IsObject(property) ? `\`${JSON.stringify(fallback)}\`` : IsOptional(property) || fallback !== undefined ? '' : '**required**'
    const row = `| \`${path}\` | ${told.replaceAll('|', '\\|')} | ${needed} |`
    if (IsObject(property)) return [row, ...rows(property, `${path}.`)]
    return inner !== undefined && IsObject(inner) ? [row, ...rows(inner, `${path}[].`)] : [row]
  })
}

if (import.meta.main) {
  const file = new URL('../../docs/configuration.md', import.meta.url)
  if (!process.argv.includes('--check')) writeFileSync(file, referencePage())
  else if (readFileSync(file, 'utf8') !== referencePage()) {
    console.error('docs/configuration.md is not what the schema says: npm run docs')
    process.exit(1)
  }
}
