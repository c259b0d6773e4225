import { matchesGlob } from 'node:path'

/** One instruction of a Dockerfile: `COPY --from=build a b` is `{ name: 'COPY', flags: { from: 'build' }, text: 'a b', words: ['a', 'b'] }`. */
export interface Instruction {
  name: string
  flags: Record<string, string>
  text: string
  /** of the exec form its strings, else the words, quotes taken off */
  words: string[]
  isExec: boolean
}
export interface Stage { base: string, name: string, instructions: Instruction[] }

/** Reads a Dockerfile, as far as ours goes: no parser directive, no heredoc, no ONBUILD, no instruction that is not listed here. @throws {Error} naming the line that it does not know */
export function readDockerfile (text: string): Stage[] {
  const stages: Stage[] = []
  const lines = text.split('\n').filter(line => !/^\s*(#|$)/.test(line)).join('\n').replaceAll(/\\\n/g, ' ').split('\n')
  for (const line of lines.filter(line => line.trim() !== '')) {
    const instruction = readInstruction(line)
    const [base = '', as, name = String(stages.length)] = instruction.words
    if (instruction.name === 'FROM' && (as === undefined || as.toUpperCase() === 'AS')) stages.push({ base, name, instructions: [] })
    else if (instruction.name === 'FROM' || stages.length === 0) throw new Error(`not understood: ${line}`)
    else stages.at(-1)!.instructions.push(instruction)
  }
  return stages
}

function readInstruction (line: string): Instruction {
  const [, name = '', flags = '', rest = ''] = /^\s*(FROM|ARG|LABEL|COPY|ADD|RUN|ENV|WORKDIR|USER|EXPOSE|HEALTHCHECK|ENTRYPOINT|CMD|STOPSIGNAL)\s+((?:--[\w-]+(?:=\S+)?\s+)*)(.*)$/i.exec(line) ?? []
  if (name === '' || rest.includes('<<')) throw new Error(`not understood: ${line}`)
  // of HEALTHCHECK the command is what counts
  const text = rest.trim().replace(name.toUpperCase() === 'HEALTHCHECK' ? /^CMD\s+/i : /^$/, '')
  const exec = execForm(text)
  return {
    name: name.toUpperCase(),
    flags: Object.fromEntries([...flags.matchAll(/--([\w-]+)(?:=(\S+))?/g)].map(([, flag = '', value = '']) => [flag, value])),
    text,
    words: exec ?? [...text.matchAll(/(?:"[^"]*"|\S)+/g)].map(([word]) => word.replaceAll('"', '')),
    isExec: exec !== undefined
  }
}

/** Docker takes what is no JSON array of strings for a shell's line. */
function execForm (text: string): string[] | undefined {
  try {
    const read: unknown = JSON.parse(text)
    if (Array.isArray(read) && read.every(word => typeof word === 'string')) return read
  } catch { /* the shell's */ }
}

/** `NAME=value` pairs of every ENV, ARG or LABEL of a stage. */
export function valuesIn ({ instructions }: Stage, name: 'ENV' | 'ARG' | 'LABEL'): Record<string, string> {
  const pairs = instructions.filter(instruction => instruction.name === name).flatMap(({ words }) => words)
  return Object.fromEntries(pairs.map(pair => [pair.split('=', 1)[0]!, pair.slice(pair.indexOf('=') + 1)]))
}

/** The last instruction of that name in a stage; it is the one that counts. */
export const lastOf = ({ instructions }: Stage, name: string) => instructions.findLast(instruction => instruction.name === name)

/** What may come into the last stage from another's own files, beside what it has made in its working directory. */
const runtime = [/^\/usr\/local\/bin\/node$/, /^\/usr\/lib\/\*-linux-gnu\/libatomic\.so\.1$/]

/** Each thing that our image must not be, in words; of a Dockerfile as it should be, none. */
export function faultsIn (text: string): string[] {
  const stages = readDockerfile(text)
  const last = stages.at(-1)
  if (last === undefined) return ['no stage']
  const all = stages.flatMap(({ instructions }) => instructions)
  const programs = last.instructions.filter(({ name }) => ['CMD', 'ENTRYPOINT', 'HEALTHCHECK'].includes(name))
  const copies = last.instructions.filter(({ name }) => name === 'COPY')
  const checks: Array<[fault: string, isThere: boolean]> = [
    ['a base is not pinned', stages.some(({ base }) => !isPinned(base) && !stages.some(({ name }) => name === base))],
    ['the last base brings a shell or a package manager', !/^gcr\.io\/distroless\/[\w-]+:nonroot(@sha256:[0-9a-f]{64})?$/.test(last.base)],
    ['the user is root, or has no number', !/^[1-9]\d*(:[1-9]\d*)?$/.test(lastOf(last, 'USER')?.text ?? '')],
    ['no CMD', lastOf(last, 'CMD') === undefined],
    ['a shell stands between the engine and node', programs.some(({ isExec }) => !isExec)],
    ['a program other than node is started', programs.some(({ words: [program] }) => program !== 'node')],
    ['ADD, which fetches and unpacks', all.some(({ name }) => name === 'ADD')],
    ['a secret in ENV or ARG', all.some(({ name, text }) => ['ENV', 'ARG'].includes(name) && /secret|passw|token|credential|key\b|_key|:\/\/[^/\s]*@/i.test(text))],
    ['the last stage runs a command', last.instructions.some(({ name }) => name === 'RUN')],
    ['the last stage takes more than was built', copies.some(({ flags, words }) => flags['from'] === undefined || words.slice(0, -1).some(path => !path.startsWith('/app/') && !runtime.some(known => known.test(path))))],
    ['files belong to the user that runs them', copies.some(({ flags }) => 'chown' in flags)]
  ]
  return checks.filter(([, isThere]) => isThere).map(([fault]) => fault)
}

/** A whole version, or the bytes; of distroless the release of Debian, since it has no finer tag. */
function isPinned (base: string) {
  return /:\d+\.\d+\.\d+(-[\w.-]+)?$/.test(base) || /@sha256:[0-9a-f]{64}$/.test(base) || /^gcr\.io\/distroless\/[\w-]+-debian\d+:nonroot$/.test(base)
}

/** Whether .dockerignore keeps a path out of the build: the last pattern that fits it, or a folder above it, decides. */
export function readIgnore (text: string): (path: string) => boolean {
  const patterns = text.split('\n').map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#'))
    .map(line => ({ isIgnored: !line.startsWith('!'), glob: line.replace(/^!/, '').replace(/^\/|\/$/g, '') }))
  return path => {
    const folders = path.split('/').map((_, at, parts) => parts.slice(0, at + 1).join('/'))
    return patterns.findLast(({ glob }) => folders.some(folder => fits(folder, glob)))?.isIgnored ?? false
  }
}

/** As Go's filepath.Match, with `**` for any number of folders; unlike a shell's, `*` takes a leading dot. */
function fits (path: string, glob: string) {
  const plain = (text: string) => text.replaceAll(/(^|\/)\./g, '$1\u{1}')
  return matchesGlob(plain(path), plain(glob))
}
