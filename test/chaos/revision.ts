import { execFileSync } from 'node:child_process'

/** What a tree was when it was measured. */
export interface Revision { commit: string, /** something in it was not committed */ isChanged: boolean }

/** Who has the modules of another tree by a link has changed nothing. */
const looked = ['.', ':(exclude)node_modules']

/** The revision of the tree in this directory; null where git does not say, or says it of a tree around it. */
export function revisionOf (directory: string): Revision | null {
  const git = (...args: string[]) => execFileSync('git', ['-C', directory, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [around, commit] = git('rev-parse', '--show-prefix', 'HEAD').split('\n')
    return around === '' && commit ? { commit, isChanged: git('status', '--porcelain', '--', ...looked) !== '' } : null
  } catch { return null }
}
