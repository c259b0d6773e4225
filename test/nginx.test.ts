import t from 'tap'
import { limit } from '../src/records.ts'
import { startGateway } from './support/gateway.ts'
import { startNginx } from './support/nginx.ts'
import { createBrowser, logIn, readGreeting } from './world/browser.ts'
import { citizens } from './world/citizens.ts'
import { freePort } from './world/free-port.ts'

t.test('behind nginx with its own limits on headers', async t => {
  const port = await freePort()
  const nginx = await startNginx(t, { upstreamPort: port })
  const issuer = `http://passerelle.localhost:${nginx.port}`
  const { world } = await startGateway(t, { behind: { issuer, port } })
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
    const consent = await browser.click('sign-in', { username: 'maximilienne', password: citizens.find(({ username }) => username === 'maximilienne')!.password })
    t.ok(consent.has('continue'), `${consent.status} at ${consent.url}`)
    const left = await browser.click('continue')
    t.equal(new URL(left.location!).searchParams.get('state'), state)
    t.ok(new URL(left.location!).searchParams.get('code'))
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
