import t from 'tap'
import { checkAcr, reaches, reportedAcr, upstreamAcr, wantedAcr } from '../../src/protocol/acr.ts'
import type { Failure } from '../../src/protocol/errors.ts'

const levels = ['eidas1', 'eidas2', 'eidas3']
const refusal = (failure: Failure, message: RegExp) => ({ failure: new RegExp(`^${failure}$`), message })

t.test('an essential acr that we do not know cannot be met (OpenID Connect Core §5.5.1.1)', async t => {
  const attempt = (asked: string[], offered?: string[]) => () => wantedAcr({ levels, default: 'eidas1' }, asked, offered, true)
  for (const asked of [['eidas4'], ['EIDAS2'], ['constructor', '__proto__'], ['eidas']]) t.throws(attempt(asked), refusal('acr_not_offered', /essential acr/), asked.join(' '))
  t.equal(attempt(['eidas4', 'eidas2'])(), 'eidas2', 'one known is enough')
  t.equal(attempt([])(), 'eidas1', 'essential without a value is met by any level')
})

t.test('a level that this client is not offered is refused, the default too', async t => {
  const table: Array<[asked: string[], fallback: string | undefined, offered: string[], wanted: string]> = [
    [['eidas3'], undefined, ['eidas1', 'eidas2'], 'eidas3'],
    [['eidas1'], undefined, ['eidas2', 'eidas3'], 'eidas1'],
    [['eidas3', 'eidas1'], undefined, ['eidas3'], 'eidas1'],
    [[], 'eidas2', ['eidas1'], 'eidas2'],
    [['eidas9'], undefined, ['eidas2'], 'eidas1'],
    [['eidas1'], undefined, [], 'eidas1']
  ]
  for (const [asked, fallback, offered, wanted] of table) {
    t.throws(() => wantedAcr({ levels, default: fallback }, asked, offered), refusal('acr_not_offered', new RegExp(`^acr ${wanted} is not offered`)), `${asked} of ${offered}`)
  }
})

t.test('among the levels a client names the lowest one we know is wanted, whatever their order', async t => {
  const table: Array<[asked: string[], fallback: string | undefined, wanted: string]> = [
    [['eidas3', 'eidas2'], undefined, 'eidas2'],
    [['eidas2', 'eidas3'], undefined, 'eidas2'],
    [['eidas3', 'eidas1', 'eidas2'], 'eidas3', 'eidas1'],
    [['eidas9', 'eidas3'], undefined, 'eidas3'],
    [['eidas3', 'eidas3'], undefined, 'eidas3'],
    [['eidas9'], undefined, 'eidas1'],
    [['eidas9'], 'eidas2', 'eidas2'],
    [[], undefined, 'eidas1'],
    [[], 'eidas2', 'eidas2'],
    [['toString'], undefined, 'eidas1']
  ]
  for (const [asked, fallback, wanted] of table) t.equal(wantedAcr({ levels, default: fallback }, asked), wanted, `${asked}, default ${fallback}`)
})

t.test('a level is at least those below it and itself; one we do not know is below every one', async t => {
  const table: Array<[acr: string, wanted: string, reached: boolean]> = [
    ['eidas1', 'eidas1', true],
    ['eidas1', 'eidas2', false],
    ['eidas2', 'eidas1', true],
    ['eidas3', 'eidas1', true],
    ['eidas3', 'eidas3', true],
    ['eidas2', 'eidas3', false],
    ['eidas4', 'eidas1', false],
    ['', 'eidas1', false],
    ['eidas', 'eidas1', false],
    ['EIDAS3', 'eidas1', false]
  ]
  for (const [acr, wanted, reached] of table) t.equal(reaches(levels, acr, wanted), reached, `${acr} for ${wanted}`)
})

t.test('a level that is wanted and no longer known is reached by none', async t => {
  for (const acr of [...levels, 'eidas4', 'eidas5']) t.equal(reaches(levels, acr, 'eidas4'), false, acr)
  t.equal(upstreamAcr(levels, 'eidas4', levels), undefined)
  t.throws(() => checkAcr(levels, 'eidas3', 'eidas4', levels), refusal('acr_too_low', /acr below eidas4/))
})

t.test('a provider is asked for the higher of what is wanted and the lowest it supports', async t => {
  const table: Array<[wanted: string, supported: string[], asked: string | undefined]> = [
    ['eidas1', ['eidas1', 'eidas2'], 'eidas1'],
    ['eidas2', ['eidas1', 'eidas2', 'eidas3'], 'eidas2'],
    ['eidas1', ['eidas3', 'eidas2'], 'eidas2'],
    ['eidas2', ['eidas3', 'eidas1'], 'eidas3'],
    ['eidas3', ['eidas1', 'eidas2'], undefined],
    ['eidas2', ['eidas1'], undefined],
    ['eidas1', [], undefined],
    ['eidas1', ['eidas4', 'constructor'], undefined]
  ]
  for (const [wanted, supported, asked] of table) t.equal(upstreamAcr(levels, wanted, supported), asked, `${wanted} of ${supported}`)
})

t.test('a level that a provider returned is refused unless it is there, is its to give, and is enough', async t => {
  const table: Array<[acr: unknown, wanted: string, allowed: string[], failure: Failure, message: RegExp]> = [
    [undefined, 'eidas1', levels, 'acr_missing', /returned no acr/],
    [null, 'eidas1', levels, 'acr_missing', /returned no acr/],
    [2, 'eidas1', levels, 'acr_missing', /returned no acr/],
    [['eidas3'], 'eidas1', levels, 'acr_missing', /returned no acr/],
    [{ toString: () => 'eidas3' }, 'eidas1', levels, 'acr_missing', /returned no acr/],
    ['', 'eidas1', levels, 'acr_too_low', /an acr it may not vouch for/],
    ['eidas3', 'eidas1', ['eidas1', 'eidas2'], 'acr_too_low', /an acr it may not vouch for/],
    ['eidas4', 'eidas1', levels, 'acr_too_low', /an acr it may not vouch for/],
    ['eidas1', 'eidas2', levels, 'acr_too_low', /an acr below eidas2/],
    ['eidas2', 'eidas3', levels, 'acr_too_low', /an acr below eidas3/],
    ['eidas4', 'eidas1', ['eidas4'], 'acr_too_low', /an acr below eidas1/]
  ]
  for (const [acr, wanted, allowed, failure, message] of table) t.throws(() => checkAcr(levels, acr, wanted, allowed), refusal(failure, message), `${JSON.stringify(acr)} for ${wanted} of ${allowed}`)
})

t.test('a level that a provider returned will do where it is at least what is wanted', async t => {
  for (const [acr, wanted] of [['eidas1', 'eidas1'], ['eidas3', 'eidas1'], ['eidas2', 'eidas2']] as const) t.doesNotThrow(() => checkAcr(levels, acr, wanted, levels), `${acr} for ${wanted}`)
})

t.test('the client is told the level reached, or the highest essential one that it covers (OpenID Connect Core §5.5.1.1)', async t => {
  const table: Array<[reached: string, essential: string[] | undefined, told: string]> = [
    ['eidas3', undefined, 'eidas3'],
    ['eidas3', [], 'eidas3'],
    ['eidas3', ['eidas2'], 'eidas2'],
    ['eidas3', ['eidas1', 'eidas2'], 'eidas2'],
    ['eidas3', ['eidas2', 'eidas1'], 'eidas2'],
    ['eidas2', ['eidas1', 'eidas3'], 'eidas1'],
    ['eidas2', ['eidas2'], 'eidas2'],
    ['eidas2', ['eidas9', 'eidas1'], 'eidas1'],
    ['eidas2', ['eidas9'], 'eidas2']
  ]
  for (const [reached, essential, told] of table) t.equal(reportedAcr(levels, reached, essential), told, `${reached} of ${essential}`)
})
