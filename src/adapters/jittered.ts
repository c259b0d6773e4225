/** So long, ±10 %: replicas that started together do not ask together. */
export const jittered = (milliseconds: number) => Math.round(milliseconds * (0.9 + Math.random() * 0.2))
