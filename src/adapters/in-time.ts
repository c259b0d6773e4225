/**
 * The answer, or `late()` thrown when it does not come within so many milliseconds; without a limit, the answer. What has arrived already counts, however late this process
 * is at reading it.
 */
export async function inTime<T> (milliseconds: number | undefined, answer: Promise<T>, late: (milliseconds: number) => Error): Promise<T> {
  if (milliseconds === undefined) return answer
  let timer: NodeJS.Timeout | undefined
  // timers come first in a turn of the event loop, and what sockets brought after them
  const timeout = new Promise<never>((resolve, reject) => { timer = setTimeout(() => setImmediate(() => reject(late(milliseconds))), milliseconds) })
  try { return await Promise.race([answer, timeout]) } finally { clearTimeout(timer) }
}
