import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'

/** What stands before a program that is to have the first core (taskset, of util-linux). */
export const onFirstCore = ['taskset', '-c', '0']

/** Leaves the first core to those that ask for it: we, and all that we start from now on, run on the others. Answers what takes that back. */
export function leaveFirstCore () {
  if (availableParallelism() < 2) throw new Error('one core is too few to leave one to the gateway')
  const runOn = (cores: string) => {
    const { status, stderr } = spawnSync('taskset', ['-a', '-c', '-p', cores, String(process.pid)], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`taskset: ${stderr}`)
  }
  const last = availableParallelism() - 1
  runOn(`1-${last}`)
  return () => runOn(`0-${last}`)
}
