/** Seconds by which the clock of a client may differ from ours, either way (FAPI 2.0 Security Profile §5.3.2.1 allows 10 and forbids 60). */
export const clockTolerance = 30
