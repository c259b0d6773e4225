import type { Fault } from '../fault.ts'
import { rollingReplacement } from './f1.ts'
import { replicaKilled } from './f2.ts'
import { replicaFrozen } from './f3.ts'
import { primaryKilled } from './f4.ts'
import { primaryFrozen } from './f5.ts'
import { redisMaintained } from './f6.ts'
import { clusterGone } from './f7.ts'
import { shardOutOfReach } from './f8.ts'
import { writesLost } from './f9.ts'
import { providerFails } from './f10.ts'
import { everyProviderDown } from './f11.ts'
import { keysChange } from './f12.ts'
import { signingKeysRotate } from './f13.ts'
import { sealingKeysRotate } from './f14.ts'
import { configurationReloaded } from './f15.ts'
import { siteLost } from './f16.ts'
import { linkCut } from './f17.ts'
import { tooMany } from './f18.ts'
import { allAtOnce } from './f19.ts'
import { clockOff } from './f21.ts'
import { nobodyReads } from './f22.ts'
import { notStraightOn } from './f23.ts'
import { soak } from './f24.ts'

/** Every fault that can be run, by its number; one file each. */
export const faults: Record<string, Fault> = {
  F1: rollingReplacement,
  F2: replicaKilled,
  F3: replicaFrozen,
  F4: primaryKilled,
  F5: primaryFrozen,
  F6: redisMaintained,
  F7: clusterGone,
  F8: shardOutOfReach,
  F9: writesLost,
  F10: providerFails,
  F11: everyProviderDown,
  F12: keysChange,
  F13: signingKeysRotate,
  F14: sealingKeysRotate,
  F15: configurationReloaded,
  F16: siteLost,
  F17: linkCut,
  F18: tooMany,
  F19: allAtOnce,
  F21: clockOff,
  F22: nobodyReads,
  F23: notStraightOn,
  F24: soak
}
