import type { Language } from './layout.ts'
import { en } from './messages/en.ts'
import { fr } from './messages/fr.ts'

/** Every text that a citizen reads; French sets the type, so a text missing elsewhere does not compile. */
export type Messages = typeof fr

export const messages: Record<Language, Messages> = { fr, en }
