import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { leadSeconds } from './adapters/key-schedule.ts'
import { KeysError, makeNextKeys, retireKeys } from './keys.ts'

// node src/keys-in-kubernetes.ts NAMESPACE SECRET [--lead SECONDS]: `next --if-due` and `retire` on the keys in a Secret (docs/kubernetes.md), which a Job cannot write as files.

export interface SecretOfKeys {
  /** where the API of the cluster is */
  api: string
  /** the account's token, which may get and patch this one Secret */
  token: string
  namespace: string
  name: string
  /** seconds between making and use */
  lead?: number
  now?: number
}

/**
 * Makes the keys in a Secret that are due and removes those that are dead, all in one write, which fails where anybody else wrote meanwhile. Answers what it made and removed.
 * @throws {KeysError} where the Secret lacks `subject.json`: with another, every citizen is a stranger everywhere, so the first keys are an operator's
 */
export async function rotateSecret ({ api, token, namespace, name, lead = leadSeconds, now = Math.floor(Date.now() / 1000) }: SecretOfKeys) {
  const ask = async (method: string, body?: object) => {
    const response = await fetch(`${api}/api/v1/namespaces/${namespace}/secrets/${name}`, {
      method,
      headers: { authorization: `Bearer ${token}`, accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/merge-patch+json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      redirect: 'error',
      signal: AbortSignal.timeout(10_000)
    }).catch((error: Error) => { throw new KeysError(`${method} of Secret ${name}: no answer (${codeOf(error)})`) })
    if (!response.ok) throw new KeysError(`${method} of Secret ${name}: status ${response.status}`)
    return await response.json() as { metadata: { resourceVersion: string }, data?: Record<string, string> }
  }

  const { metadata: { resourceVersion }, data = {} } = await ask('GET')
  if (data['subject.json'] === undefined) throw new KeysError(`Secret ${name}: expected subject.json: make the first keys by hand, or put back the one that was kept`)

  const directory = mkdtempSync(join(tmpdir(), 'keys-'))                 // readable by its owner alone
  try {
    for (const [file, content] of Object.entries(data)) writeFileSync(join(directory, file), Buffer.from(content, 'base64'), { mode: 0o600 })
    const made = makeNextKeys(directory, now, { ifDue: true, lead })
    const removed = retireKeys(directory, now)
    const kept = new Set(readdirSync(directory))
    const change = Object.fromEntries([
      ...made.filter(file => kept.has(file)).map(file => [file, readFileSync(join(directory, file)).toString('base64')]),
      ...removed.map(file => [file, null])
    ])
    if (Object.keys(change).length > 0) await ask('PATCH', { metadata: { resourceVersion }, data: change })
    return { made, removed }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const codeOf = (error: Error) => (error.cause as NodeJS.ErrnoException | undefined)?.code ?? error.name

if (import.meta.main) {
  const { positionals: [namespace, name], values } = parseArgs({ allowPositionals: true, options: { lead: { type: 'string' } } })
  const lead = values.lead === undefined ? leadSeconds : Number(values.lead)
  if (namespace === undefined || name === undefined || !(Number.isInteger(lead) && lead >= leadSeconds)) {
    console.error(`usage: node src/keys-in-kubernetes.ts NAMESPACE SECRET [--lead SECONDS, ${leadSeconds} or more]`)
    process.exit(2)
  }
  try {
    const token = readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/token', 'utf8').trim()
    const { made, removed } = await rotateSecret({ api: 'https://kubernetes.default.svc', token, namespace, name, lead })
    console.log(`made: ${made.join(', ') || 'nothing'}; removed: ${removed.join(', ') || 'nothing'}`)
  } catch (error) {
    if (!(error instanceof KeysError)) throw error
    console.error(error.message)
    process.exitCode = 1
  }
}
