import type { Fault } from '../fault.ts'
import { providerFails } from './f10.ts'
import { everyProviderDown } from './f11.ts'
import { keysChange } from './f12.ts'

/** Every fault that can be run, by its number; one file each. */
export const faults: Record<string, Fault> = {
  F10: providerFails,
  F11: everyProviderDown,
  F12: keysChange
}
