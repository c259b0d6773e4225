import t from 'tap'
import { isSealedHandle } from '../src/adapters/handles.ts'
import { limit } from '../src/records.ts'
import { frailSite } from './support/degradable.ts'
import { startGateway } from './support/gateway.ts'
import { startNginx } from './support/nginx.ts'
import { createBrowser, logIn, readGreeting } from './world/browser.ts'
import { citizens } from './world/citizens.ts'
import { freePort } from './world/free-port.ts'

const passwordOf = (name: string) => citizens.find(({ username }) => username === name)!.password

t.test('behind nginx with its own limits on headers', async t => {
  const port = await freePort()
  const nginx = await startNginx(t, { upstreamPort: port })
  const issuer = `http://passerelle.localhost:${nginx.port}`
  const { records, replicas: [{ store }] } = frailSite(t)
  const { world } = await startGateway(t, { behind: { issuer, port }, store })
  const { client_id, redirect_uri } = world.services.taxes!
  const ask = (state: string) => `${issuer}/authorize?${new URLSearchParams({
    client_id, redirect_uri, response_type: 'code', scope: 'openid identite_pivot email', state, code_challenge: 'x'.repeat(43), code_challenge_method: 'S256'
  })}`

  t.test('the largest request with the largest identity comes through, among as many other tabs as there can be', async t => {
    const browser = createBrowser({ stopAt: redirect_uri })
    t.teardown(() => browser.close())
    const state = 's'.repeat(await largestState())
    for (let tab = 0; tab < 8; tab++) t.equal((await browser.get(ask(state))).status, 200)
    await browser.click('idp-vitalys')
    const consent = await browser.click('sign-in', { username: 'maximilienne', password: passwordOf('maximilienne') })
    t.ok(consent.has('continue'), `${consent.status} at ${consent.url}`)
    const left = await browser.click('continue')
    t.equal(new URL(left.location!).searchParams.get('state'), state)
    t.ok(new URL(left.location!).searchParams.get('code'))
  })

  t.test('so does a code that holds its record, beside any state, for anybody: whom it would be too large for is told to try again', async t => {
    const most = await largestState()
    let sealed = 0
    for (const username of ['marion', 'maximilienne']) {
      for (const state of ['s'.repeat(20), 's'.repeat(most), '+'.repeat(most)]) {
        const browser = createBrowser({ stopAt: redirect_uri })
        t.teardown(() => browser.close())
        t.equal((await browser.get(ask(state))).status, 200)
        await browser.click('idp-vitalys')
        const consent = await browser.click('sign-in', { username, password: passwordOf(username) })
        t.ok(consent.has('continue'), `${consent.status} at ${consent.url}`)
        records.away = 'refuses'
        const left = await browser.click('continue')
        records.away = undefined
        const { searchParams } = new URL(left.location!)
        t.equal(searchParams.get('state'), state, `${left.status}, ${left.location!.length} characters`)
        const code = searchParams.get('code')
        if (code === null) t.equal(searchParams.get('error'), 'temporarily_unavailable')
        else if (t.ok(isSealedHandle(code))) sealed++
      }
    }
    t.ok(sealed > 0, `${sealed} codes were sealed`)
  })

  t.test('the largest code that holds its record comes through, where its address does', async t => {
    const { put } = store
    const largest: string[] = []
    store.put = async (kind, record, ...of) => {
      if (kind !== 'code' || of[1]?.ifAway !== 'seal') return put(kind, record, ...of)
      let handle = ''
      for (let bytes = 0; ; bytes += 30) {
        const wider = await put(kind, { ...record, claims: { given_name: 'x'.repeat(bytes) } } as never, ...of).catch(() => undefined)
        if (wider === undefined) break
        handle = wider
      }
      largest.push(handle)
      return handle
    }
    t.teardown(() => { store.put = put })
    const most = await largestState()
    for (const character of ['s', '+']) {
      const browser = createBrowser({ stopAt: redirect_uri })
      t.teardown(() => browser.close())
      await browser.get(ask(character.repeat(most)))
      await browser.click('idp-vitalys')
      await browser.click('sign-in', { username: 'marion', password: passwordOf('marion') })
      records.away = 'refuses'
      const left = await browser.click('continue')
      records.away = undefined
      t.ok(largest[0]!.length > limit.sealedCode - 60, `${largest[0]!.length} bytes`)
      const { searchParams } = new URL(left.location!)
      t.equal(searchParams.get('state'), character.repeat(most))
      if (character === 's') t.equal(searchParams.get('code'), largest[0])
      else t.equal(searchParams.get('error'), 'temporarily_unavailable', 'beside what takes three times its length in an address it would be too much')
    }
  })

  t.test('a whole login goes on after it', async t => {
    const browser = createBrowser()
    t.teardown(() => browser.close())
    const page = await logIn(browser, { world, service: 'town', provider: 'tresorine', citizen: 'maximilienne' })
    t.equal(readGreeting(page).acr, 'eidas1', page.url)
  })

  /** The longest state that the gateway takes from this client: the first that it refuses is named, and one less is not. */
  async function largestState () {
    let taken = 0
    let refused: number = limit.loginCookie
    while (refused - taken > 1) {
      const middle = Math.floor((taken + refused) / 2)
      const browser = createBrowser({ stopAt: redirect_uri })
      const answer = await browser.get(ask('s'.repeat(middle)))
      await browser.close()
      if (answer.status === 200) taken = middle
      else refused = middle
    }
    return taken
  }
})
