import type { Fault } from '../fault.ts'
export const configurationReloaded: Fault = { about: '', variants: [], run: async () => [] }
