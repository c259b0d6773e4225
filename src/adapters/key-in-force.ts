/** Of keys with a schedule the newest whose time has come; when none has, the first that will (`nbf`: NumericDate, seconds). */
export function keyInForce<K extends { nbf: number }> (keys: readonly K[], now: number): K | undefined {
  const [first, ...rest] = [...keys].sort((a, b) => a.nbf - b.nbf)
  return rest.reduce((chosen, key) => key.nbf <= now ? key : chosen, first)
}
