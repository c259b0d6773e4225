/** Seconds by which the clock of a client may differ from ours, either way (FAPI 2.0 Security Profile §5.3.2.1 allows 10 and forbids 60). */
export const clientClockTolerance = 30

/** Seconds by which the clocks of two replicas may differ. */
export const replicaClockTolerance = 60

/** A time as 2027-01-31T22:00:00Z (RFC 3339), as NumericDate; NaN for a day or a time that there is not, which JavaScript would take for one in March. */
export function instantIn (text: string): number {
  const day = text.slice(0, 10)
  const isDay = new Date(`${day}T00:00:00Z`).getUTCDate() === Number(day.slice(8))
  return isDay ? Date.parse(text) / 1000 : NaN
}

/** A NumericDate as such a time. */
export const instant = (seconds: number) => new Date(seconds * 1000).toISOString().replace('.000', '')
