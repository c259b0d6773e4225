/** The answer, or `late()` thrown when it does not come within so many milliseconds; without a limit, the answer. */
export async function inTime<T> (milliseconds: number | undefined, answer: Promise<T>, late: (milliseconds: number) => Error): Promise<T> {
  if (milliseconds === undefined) return answer
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((resolve, reject) => { timer = setTimeout(() => reject(late(milliseconds)), milliseconds) })
  try { return await Promise.race([answer, timeout]) } finally { clearTimeout(timer) }
}
