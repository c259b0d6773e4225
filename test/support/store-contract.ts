import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { isSealedHandle } from '../../src/adapters/handles.ts'
import type { Claim, Handle, Store } from '../../src/ports.ts'
import type { Token } from '../../src/protocol/grant.ts'
import type { Identification } from '../../src/protocol/identification.ts'
import { life, type Entered, type Kind, type Records, type Session, type Used } from '../../src/records.ts'

/** A place where a store can be tried. */
export interface Stand {
  site: string
  /** Another store over the same records: another replica. */
  open (): Store
  /** Lets so many seconds go by, and as little more as it can. */
  pass (seconds: number): Promise<void> | void
  /** What this store cannot keep: whoever asks it to is told so. All other stores keep everything. */
  cannot?: readonly Lack[]
}

/** Records of a kind, or what somebody has to remember. */
export type Lack = Kind | 'ends of sessions' | 'names' | 'clients entered' | 'recalls'
const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }

/** What a code and its token stand for; the end is the token's. */
export const grantOf = (changes: Partial<Token> = {}): Token => ({
  login: randomBytes(9).toString('base64url'),
  client_id: 'mairie',
  redirect_uri: 'https://mairie.example/callback',
  scopes: ['openid', 'identite_pivot'],
  code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
  nonce: 'n-0S6_WzA2Mj',
  exp: 1700000060,
  person: 'p',
  sub: 'b6048e95bb134ec5b1d1e1fa69f287172e91722b9354d637a1bcf2ebb0fd2ef5v1',
  claims: { given_name: 'Élodie', family_name: 'Lefèvre-日本', birthdate: '1962-08-24' },
  acr: 'eidas1',
  amr: ['pwd'],
  auth_time: 1700000000,
  idp: 'impots',
  identifiedAt: 1700000000,
  issuedAt: 1700000010,
  sid: randomBytes(9).toString('base64url'),
  ...changes
})

export const identificationOf = (changes: Partial<Identification> = {}): Identification =>
  ({ idp: 'impots', person: 'p', claims: { given_name: 'Élodie' }, acr: 'eidas1', amr: ['pwd'], auth_time: 1700000000, identifiedAt: 1700000000, ...changes })

export const sessionOf = (changes: Partial<Session> = {}): Session =>
  ({ ...identificationOf(), sid: randomBytes(9).toString('base64url'), client_id: 'mairie', exp: 1700028800, ...changes })

const examples: { [K in Kind]: () => Records[K] } = { code: grantOf, token: grantOf, session: sessionOf, identity: identificationOf }
const allKinds = Object.keys(examples) as Kind[]

export const claimOf = (token: Token, changes: Partial<Claim> = {}): Claim =>
  ({ client_id: token.client_id, token, tokenSeconds: 60, usedSeconds: 60, ...changes })

const isWon = (outcome: { access_token: Handle } | { used: Used }): outcome is { access_token: Handle } => 'access_token' in outcome
const byClient = (a: Entered, b: Entered) => a.client_id.localeCompare(b.client_id)

/** What every store keeps, whatever it keeps it in. Each try uses records of its own, so several may share a stand. */
export async function keepsContract (t: Test, { site, open, pass, cannot = [] }: Stand) {
  const opened = (t: Test) => {
    const store = open()
    t.teardown(() => store.close())
    return store
  }
  const can = (lack: Lack) => !cannot.includes(lack)
  const testWhereItCan = async (lack: Lack, title: string, test: (t: Test) => Promise<void>) => { if (can(lack)) await t.test(title, test) }
  const kinds = allKinds.filter(can)
  /** What a handle that holds its record says of itself is all that it adds. */
  const asKept = <T>(record: T, handle: Handle): T => isSealedHandle(handle) ? { ...record, degraded: true } : record

  if (cannot.length > 0) {
    await t.test(`what cannot be kept is refused, and nobody is told that it was kept or is not there: ${cannot.join(', ')}`, async t => {
      const store = opened(t)
      const session = `${site}-${'A'.repeat(43)}`
      for (const kind of allKinds.filter(kind => !can(kind))) {
        for (const ifAway of [undefined, 'wait', 'give up', 'seal'] as const) await t.rejects(store.put(kind, examples[kind]() as never, 30, { ifAway }), unavailable, `${kind} ${ifAway}`)
      }
      const refused = {
        'ends of sessions': [() => store.end({ sid: 'sid' }, 30), () => store.end({ session }, 30), () => store.ended('sid'), () => store.ended('sid', { patienceMs: 5000 })],
        names: [() => store.once('name', 30), () => store.once('name', 30, { by: 'a' }), () => store.said('name')],
        'clients entered': [() => store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 30), () => store.entered('sid')],
        recalls: [() => store.recall('name', 'text', 30), () => store.recalls()]
      }
      for (const [lack, asks] of Object.entries(refused)) if (!can(lack as Lack)) for (const ask of asks) await t.rejects(ask() as Promise<unknown>, unavailable, `${ask}`)
    })
  }

  await t.test('fifty that claim one code at once: one wins, and forty-nine learn who it was', async t => {
    const [one, other] = [opened(t), opened(t)]
    const grant = grantOf()
    const code = await one.put('code', grant, 30)
    const claims = Array.from({ length: 50 }, (_, i) => claimOf(grant, { client_id: `client-${i}` }))
    const outcomes = await Promise.all(claims.map((claim, i) => (i % 2 ? one : other).claim(code, claim)))

    const winners = outcomes.flatMap((outcome, i) => isWon(outcome) ? [{ ...outcome, ...claims[i]! }] : [])
    t.equal(winners.length, 1, 'exactly one wins')
    const [winner] = winners
    const losers = outcomes.filter(outcome => !isWon(outcome)) as Array<{ used: Used }>
    t.equal(losers.length, 49)
    for (const loser of losers) {
      t.strictSame(Object.keys(loser), ['used'], 'a loser is shown no token')
      t.same(loser.used, { ...losers[0]!.used, client_id: winner!.client_id }, 'the same winner for all')
    }
    t.notMatch(JSON.stringify(losers), winner!.access_token, 'the token itself is not told to the losers')
    t.same(await other.get('token', winner!.access_token), asKept(grant, winner!.access_token), 'the winner\'s token works')
    t.same(await one.usedBy(code), losers[0]!.used)

    await one.end({ token: losers[0]!.used.token }, 60)
    t.equal(await other.get('token', winner!.access_token), undefined, 'the digest that losers learn is that of the winner\'s token: it ends it')
  })

  await t.test('a second claim never wins, not even by the client of the first', async t => {
    const store = opened(t)
    const grant = grantOf()
    const code = await store.put('code', grant, 30)
    const claim = claimOf(grant)
    const first = await store.claim(code, claim)
    t.ok(isWon(first))
    const second = await store.claim(code, claim)
    t.notOk(isWon(second))
    t.match(second, { used: { client_id: claim.client_id } })
    t.notOk(isWon(await store.claim(code, claimOf(grant, { client_id: 'thief' }))))
    t.match(await store.usedBy(code), { client_id: claim.client_id }, 'who came later does not take the first one\'s place')
  })

  await t.test('no kind can be read as another, and a code is no token', async t => {
    const store = opened(t)
    for (const kind of kinds) {
      const handle = await store.put(kind, examples[kind]() as never, 30)
      for (const other of allKinds) {
        if (other === kind) t.ok(await store.get(other, handle), `${kind} as itself`)
        else t.equal(await store.get(other, handle), undefined, `${kind} as ${other}`)
      }
      t.equal(await store.usedBy(handle), undefined, `${kind} as used`)
    }
    const grant = grantOf()
    const code = await store.put('code', grant, 30)
    const won = await store.claim(code, claimOf(grant)) as { access_token: Handle }
    t.equal(await store.get('code', won.access_token), undefined, 'a token is no code')
    t.equal(await store.usedBy(won.access_token), undefined)
  })

  await t.test('what is no handle of ours is nothing, at once and without an error', async t => {
    const store = opened(t)
    const real = await store.put('code', grantOf(), 30)
    const garbage = [
      '', ' ', 'x', '-', 'null', 'undefined', '__proto__', '*', `${site}-`, real.slice(0, -1), `${real}A`, `${real} `, ` ${real}`, `${real}\n`, real.toUpperCase(),
      real.replace('-', '.'), real.replace('-', ''), real.slice(site.length), `toolong${real}`, `${site}-${'é'.repeat(43)}`, `${site}-${'='.repeat(43)}`,
      `${site}-${'A'.repeat(43)}`, `${site}-${'A'.repeat(100_000)}`, 'A'.repeat(1_000_000), '\u0000', '\uD800', '{}', 'code:{x}', '{{7*7}}', '../../etc/passwd'
    ]
    for (const handle of garbage) {
      const shown = JSON.stringify(handle.slice(0, 60))
      for (const kind of allKinds) t.equal(await store.get(kind, handle), undefined, `${kind} ${shown}`)
      t.equal(await store.get('session', handle, { slideSeconds: 30, patienceMs: 5000 }), undefined, `a session to be lengthened ${shown}`)
      t.equal(await store.usedBy(handle), undefined, `usedBy ${shown}`)
      if (can('ends of sessions')) await t.resolves(store.end({ session: handle }, 30), `end ${shown}`)
      await t.resolves(store.end({ access_token: handle }, 30), `end a token ${shown}`)
    }
    t.ok(await store.get('code', real), 'nothing of this touched the real one')
  })

  await t.test('each kind comes back as it was put, letters of every alphabet included', async t => {
    const [one, other] = [opened(t), opened(t)]
    for (const kind of kinds) {
      const record = examples[kind]()
      const handle = await one.put(kind, record as never, 30)
      t.strictSame(await one.get(kind, handle), asKept(record, handle), kind)
      t.strictSame(await other.get(kind, handle), asKept(record, handle), `${kind}, at another replica`)
      t.strictSame(await one.get(kind, handle, { patienceMs: 5000 }), asKept(record, handle), `${kind}, a second time, with a limit of patience`)
    }
  })

  await t.test('a handle carries the mark of its site and 256 bits of which no two are the same', async t => {
    const store = opened(t)
    const record = grantOf()
    const handles = await Promise.all(Array.from({ length: 200 }, () => store.put('code', record, 30)))
    t.equal(new Set(handles).size, 200, 'one record put twice has two handles')
    if (handles.every(isSealedHandle)) return t.ok(handles.every(handle => handle.startsWith(`${site}~`)))
    for (const handle of handles) {
      t.ok(handle.startsWith(`${site}-`))
      t.equal(Buffer.from(handle.slice(site.length + 1), 'base64url').length, 32)
    }
    const bytes = handles.map(handle => Buffer.from(handle.slice(site.length + 1), 'base64url'))
    for (let i = 0; i < 32; i++) t.ok(new Set(bytes.map(each => each[i])).size > 60, `byte ${i} is random`)
  })

  await t.test('a code can be read before it is claimed and after', async t => {
    const store = opened(t)
    const grant = grantOf()
    const code = await store.put('code', grant, 30)
    t.equal(await store.usedBy(code), undefined, 'nobody has it yet')
    t.same(await store.get('code', code), asKept(grant, code))
    const claim = claimOf(grant)
    const { access_token } = await store.claim(code, claim) as { access_token: Handle }
    t.same(await store.get('code', code), asKept(grant, code), 'a claim does not take it away')
    t.match(await store.usedBy(code), { client_id: claim.client_id })
    t.same(await store.get('token', access_token), asKept(grant, access_token))
  })

  await t.test('what ended stays ended, whatever is asked of it', async t => {
    const [one, other] = [opened(t), opened(t)]
    const grant = grantOf()
    const code = await one.put('code', grant, 30)
    const { access_token } = await one.claim(code, claimOf(grant)) as { access_token: Handle }
    const used = (await one.usedBy(code))!
    const bystander = await one.claim(await one.put('code', grant, 30), claimOf(grant)) as { access_token: Handle }
    await one.end({ token: used.token }, 30)
    for (const store of [one, other]) {
      t.equal(await store.get('token', access_token), undefined)
      t.ok(await store.get('token', bystander.access_token), 'another token is not touched')
    }
    t.notOk(isWon(await other.claim(code, claimOf(grant))), 'a claim does not bring it back')
    t.equal(await other.get('token', access_token), undefined)
    await t.resolves(one.end({ token: 'never-was' }, 30))
    if (!can('session')) return

    const session = await one.put('session', sessionOf(), 30)
    const another = await one.put('session', sessionOf(), 30)
    await one.end({ session }, 30)
    for (const store of [one, other]) {
      t.equal(await store.get('session', session), undefined)
      t.equal(await store.get('session', session, { slideSeconds: 30 }), undefined, 'a read that lengthens lives does not bring it back')
      t.equal(await store.get('session', session), undefined)
      t.ok(await store.get('session', another), 'another session is not touched')
    }
    await t.resolves(one.end({ session }, 30), 'to end twice is to end')
  })

  await t.test('a token is ended by its handle, at every replica, and no other with it', async t => {
    const [one, other] = [opened(t), opened(t)]
    const grant = grantOf()
    const code = await one.put('code', grant, 30)
    const { access_token } = await one.claim(code, claimOf(grant)) as { access_token: Handle }
    const bystander = await one.claim(await one.put('code', grant, 30), claimOf(grant)) as { access_token: Handle }
    if (can('session')) {
      const session = await one.put('session', sessionOf(), 30)
      await one.end({ access_token: session }, 30)
      await one.end({ session: access_token }, 30)
      t.ok(await other.get('token', access_token), 'a token is not ended as a session')
      t.ok(await other.get('session', session), 'nor a session as a token')
    }
    await one.end({ access_token: code }, 30)
    t.ok(await other.get('code', code), 'nor a code')

    await one.end({ access_token }, 30)
    for (const store of [one, other]) {
      t.equal(await store.get('token', access_token), undefined)
      t.equal(await store.get('token', access_token, { slideSeconds: 30, patienceMs: 5000 }), undefined, 'a read that lengthens lives does not bring it back')
      t.ok(await store.get('token', bystander.access_token), 'another token of the same grant is not touched')
    }
    t.match(await other.claim(code, claimOf(grant)), { used: { client_id: grant.client_id } }, 'nor is its code free again')
    t.equal(await other.get('token', access_token), undefined)
    await t.resolves(other.end({ access_token }, 30), 'to end twice is to end')
    await t.resolves(other.end({ token: (await one.usedBy(code))!.token }, 30), 'also by its digest')
    t.equal(await one.get('token', access_token), undefined)
    await t.resolves(one.end({ access_token: `${site}-${'A'.repeat(43)}` }, 30), 'a token that never was')
  })

  await testWhereItCan('names', 'a name that was said is known to have been, and to ask is not to say', async t => {
    const [one, other] = [opened(t), opened(t)]
    const name = `pushed ${randomBytes(9).toString('base64url')}`
    t.equal(await one.said(name), false)
    t.equal(await other.said(name, { patienceMs: 5000 }), false)
    t.equal(await one.once(name, 30, { patienceMs: 5000 }), true, 'to have asked was not to have said')
    for (const store of [one, other]) {
      t.equal(await store.said(name), true)
      t.equal(await store.said(name, { patienceMs: 5000 }), true)
      t.equal(await store.once(name, 30), false)
      t.equal(await store.once(name, 30, { patienceMs: 5000 }), false)
    }
    t.equal(await one.said(`${name} `), false, 'another name is another name')
    t.equal(await one.said(''), false)
    t.equal(await one.ended(name), false, 'and no sid')
    await one.end({ sid: `${name}x` }, 30)
    t.equal(await one.said(`${name}x`), false, 'nor is a sid a name')
  })

  await testWhereItCan('names', 'who was the first to say a name is the first when it says so again, and nobody else is', async t => {
    const stores = [opened(t), opened(t)]
    const name = `pushed ${randomBytes(9).toString('base64url')}`
    const logins = Array.from({ length: 50 }, (_, i) => `login-${i}`)
    const said = await Promise.all(logins.map((by, i) => stores[i % 2]!.once(name, 30, { by })))
    t.equal(said.filter(first => first === true).length, 1)
    for (const store of stores) {
      t.same(await Promise.all(logins.map(by => store.once(name, 30, { by, patienceMs: 5000 }))), said, 'asked again, each hears the same')
      t.equal(await store.once(name, 30), false, 'who does not say who it is, is somebody else')
      t.equal(await store.once(name, 30, { by: '' }), false)
      t.equal(await store.said(name), true)
    }
    const nameless = `${name} nameless`
    t.equal(await stores[0]!.once(nameless, 30), true)
    t.equal(await stores[0]!.once(nameless, 30, { by: logins[0] }), false, 'nobody takes the place of one that did not say who it was')
  })

  await testWhereItCan('ends of sessions', 'a sid that ended is ended, also for a session that is put late', async t => {
    const [one, other] = [opened(t), opened(t)]
    const session = sessionOf()
    t.equal(await one.ended(session.sid), false)
    await one.end({ sid: session.sid }, 30)
    t.equal(await other.ended(session.sid), true)
    await one.put('session', session, 30)
    await one.enter(session.sid, { client_id: 'mairie', at: 1, claims: [] }, 30)
    t.equal(await one.ended(session.sid), true)
    t.equal(await one.ended(session.sid, { patienceMs: 5000 }), true)
    t.equal(await one.ended(`${session.sid}x`), false)
    t.equal(await one.ended(''), false)
  })

  await testWhereItCan('names', 'of fifty that say a name at once, one is the first', async t => {
    const stores = [opened(t), opened(t)]
    const name = `jti ${randomBytes(9).toString('base64url')}`
    const said = await Promise.all(Array.from({ length: 50 }, (_, i) => stores[i % 2]!.once(name, 30)))
    t.equal(said.filter(first => first === true).length, 1)
    t.equal(said.filter(first => first === false).length, 49)
    t.equal(await stores[0]!.once(`${name} `, 30), true, 'another name is another name')
    t.equal(await stores[0]!.ended(name), false, 'and no sid')
  })

  await testWhereItCan('clients entered', 'fifty clients that a session enters at once are all there, each once', async t => {
    const stores = [opened(t), opened(t)]
    const { sid } = sessionOf()
    t.same(await stores[0]!.entered(sid), [], 'none yet')
    const all = Array.from({ length: 50 }, (_, i) => ({ client_id: `client-${i}`, at: 1700000000 + i, claims: ['given_name', `claim-${i}`] }))
    await Promise.all(all.map((entered, i) => stores[i % 2]!.enter(sid, entered, 30)))
    t.strictSame((await stores[1]!.entered(sid)).sort(byClient), [...all].sort(byClient))

    await stores[0]!.enter(sid, { client_id: 'client-7', at: 1700009999, claims: ['email'] }, 30)
    const after = await stores[1]!.entered(sid)
    t.equal(after.length, 50, 'to enter twice is to have entered')
    t.strictSame(after.find(({ client_id }) => client_id === 'client-7'), { client_id: 'client-7', at: 1700009999, claims: ['email'] }, 'the last word counts')
    t.same(await stores[0]!.entered(`${sid}x`), [], 'another session entered none of them')
  })

  await t.test('everything dies when its time is over, and not before', async t => {
    const store = opened(t)
    const { sid } = sessionOf()
    const grant = grantOf()
    const code = await store.put('code', grant, 2)
    const { access_token } = await store.claim(code, claimOf(grant, { tokenSeconds: 2, usedSeconds: 4 })) as { access_token: Handle }
    const rest = cannot.length > 0
      ? undefined
      : { ended: await store.put('session', sessionOf(), 60), session: await store.put('session', sessionOf(), 2), identity: await store.put('identity', identificationOf(), 2) }
    if (rest !== undefined) {
      await store.end({ session: rest.ended }, 4)
      await store.end({ sid }, 2)
      await store.once(sid, 2)
      await store.enter(sid, { client_id: 'a', at: 1, claims: [] }, 2)
    }

    await pass(1)
    t.ok(await store.get('code', code), 'code, alive')
    t.ok(await store.get('token', access_token), 'token, alive')
    if (rest !== undefined) {
      t.ok(await store.get('session', rest.session), 'session, alive')
      t.ok(await store.get('identity', rest.identity), 'identity, alive')
      t.equal(await store.ended(sid), true, 'sid, ended')
      t.equal(await store.once(sid, 2), false, 'name, said; to say it again does not make it live longer')
      t.equal(await store.said(sid), true, 'nor does it to ask')
      t.equal((await store.entered(sid)).length, 1, 'entered, alive')
    }

    await pass(1)
    t.equal(await store.get('code', code), undefined, 'code, dead')
    t.equal(await store.get('token', access_token), undefined, 'token, dead')
    if (rest !== undefined) {
      t.equal(await store.get('session', rest.session), undefined, 'session, dead: to read it was not to lengthen its life')
      t.equal(await store.get('identity', rest.identity), undefined, 'identity, dead')
      t.equal(await store.ended(sid), false, 'sid, free')
      t.same(await store.entered(sid), [], 'entered, dead')
      t.equal(await store.said(sid), false, 'name, said by nobody')
      t.equal(await store.once(sid, 2), true, 'name, free')
      t.equal(await store.get('session', rest.ended), undefined, 'what ended stays ended')
    }
    t.match(await store.usedBy(code), { client_id: grant.client_id }, 'who redeemed a code is known when the code is gone')
    t.notOk(isWon(await store.claim(code, claimOf(grant, { client_id: 'late' }))), 'and a late claim does not win')
    await pass(isSealedHandle(code) ? life.sealedMark : 2)
    t.equal(await store.usedBy(code), undefined, 'used, dead')
  })

  await testWhereItCan('session', 'a session that is used lives on, from its last use', async t => {
    const store = opened(t)
    const session = sessionOf()
    const handle = await store.put('session', session, 2)
    const { sid } = session
    await store.enter(sid, { client_id: 'a', at: 1, claims: [] }, 2)
    t.same(await store.get('session', handle, { slideSeconds: 4 }), session)
    await pass(1)
    await store.enter(sid, { client_id: 'b', at: 2, claims: [] }, 4)
    await pass(2)
    t.same(await store.get('session', handle, { slideSeconds: 2, patienceMs: 5000 }), session, 'beyond its first life')
    t.equal((await store.entered(sid)).length, 2, 'a client that it enters later lengthens the list\'s life, too')
    await pass(1)
    t.same(await store.get('session', handle), session)
    await pass(1)
    t.equal(await store.get('session', handle), undefined, 'until it is left alone')
  })

  await testWhereItCan('recalls', 'what is called back is left for every replica, each once under its name, and dies', async t => {
    const [one, other] = [opened(t), opened(t)]
    const texts = Array.from({ length: 20 }, (_, i) => `text ${i} é`)
    await Promise.all(texts.map((text, i) => (i % 2 ? one : other).recall(`name ${i}`, text, 3)))
    await one.recall('name 7', 'text seven', 3)
    for (const store of [one, other]) t.same((await store.recalls()).sort(), texts.with(7, 'text seven').sort())
    await pass(3)
    t.same(await other.recalls(), [])
  })

  await t.test('a store that was closed closes', async t => {
    const store = open()
    await store.put('code', grantOf(), 30)
    await t.resolves(store.close())
  })
}
