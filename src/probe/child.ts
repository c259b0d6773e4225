import { probeLogin } from './login.ts'
import type { ProbeSettings } from './settings.ts'

// The process of one login: apart.ts begins it, gives it its settings and ends it; where nobody is left to tell, it ends by itself.

process.on('disconnect', () => process.exit(1))
process.once('message', async (settings: ProbeSettings) => { await probeLogin(settings, told => { process.send!(told) }) })
