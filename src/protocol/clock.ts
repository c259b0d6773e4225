/** Seconds by which the clock of a client may differ from ours, either way (FAPI 2.0 Security Profile §5.3.2.1 allows 10 and forbids 60). */
export const clientClockTolerance = 30

/** Seconds by which the clocks of two replicas may differ. */
export const replicaClockTolerance = 60
