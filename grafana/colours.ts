import { failures, type Failure } from '../src/protocol/errors.ts'

/** Colours that everybody can tell apart (Okabe and Ito): no red beside green. */
export const colours = { blue: '#0072B2', sky: '#56B4E9', green: '#009E73', yellow: '#F0E442', orange: '#E69F00', vermilion: '#D55E00', purple: '#CC79A7', grey: '#999999' }

/** What a value says by its colour, beside its words. */
export const good = colours.blue
export const warn = colours.orange
export const bad = colours.vermilion
export const plain = colours.grey

/** How a series is drawn that is known by its name. */
export type Looks = Record<string, { colour?: string, text?: string }>

/** On whose side a login ended. */
export const sides: Looks = {
  success: { colour: colours.blue, text: 'ended well' },
  citizen: { colour: colours.sky, text: 'citizen' },
  client: { colour: colours.purple, text: 'service' },
  provider: { colour: colours.orange, text: 'provider' },
  us: { colour: colours.vermilion, text: 'the gateway' }
}

/** A failure as it stands on the page that the citizen reads: its code, and its name. */
const named = (failure: Failure) => `${failures[failure].citizen} ${failure}`
const names = Object.keys(failures) as Failure[]

/** Names of failures that `is` true of, as an expression takes them. */
export const failuresThat = (is: (row: { citizen: string, security?: true }) => boolean) => names.filter(name => is(failures[name])).join('|')
/** The same failures, as series that show their codes. */
export const coded = (is: (row: { citizen: string, security?: true }) => boolean): Looks => Object.fromEntries(names.filter(name => is(failures[name])).map(name => [name, { text: named(name) }]))
/** Cells of a table that show the code of a failure. */
export const codes: Record<string, { text: string }> = Object.fromEntries(names.map(name => [name, { text: named(name) }]))
