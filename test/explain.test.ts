import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { temporaryDirectory } from './support/gateway.ts'
import { base, testApp } from './support/test-app.ts'

// npm run explain: support has what a citizen reads on the page, and is told what became of the login.

t.setTimeout(60_000)

async function explain (args: string[], input = '') {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../src/explain.ts', import.meta.url)), ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  let [text, wrong] = ['', '']
  child.stdout.setEncoding('utf8').on('data', part => { text += part })
  child.stderr.setEncoding('utf8').on('data', part => { wrong += part })
  child.stdin.end(input)
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, text, wrong }
}

function fileOf (t: Test, lines: readonly string[]) {
  const file = join(temporaryDirectory(t), 'log')
  writeFileSync(file, lines.join(''))
  return file
}

t.test('a login that went well is told from the service\'s request to the identity that it read', async t => {
  const gateway = await testApp(t)
  await gateway.redeem(await gateway.browser().logIn('town'))
  const arrival = await gateway.browser().logIn('agency')
  const { body: { access_token } } = await gateway.redeem(arrival)
  await gateway.userinfo(String(access_token))
  const { code, text } = await explain([arrival.login], gateway.log.join(''))
  t.equal(code, 0)
  t.match(text, new RegExp(`^Login ${arrival.login}, for the service agency, by taxes\\.\\n`))
  const told = ['1.0    A service asked for a login (level eidas1)', '2.0    The citizen was shown', '3.0    The citizen was sent', '4.0    The citizen came back', '5.0    The answer and the identity were checked', '6.0    The citizen was shown what', '6.1    The citizen agreed', '7.0    The citizen was sent back', '7.2    The service redeemed the code', '7.3    The service read the identity']
  let at = 0
  for (const part of told) {
    const found = text.indexOf(part, at)
    t.ok(found > at, part)
    at = found
  }
  t.match(text, /\nIt ended well: the service redeemed the code and read the identity\.\n$/)
  t.notMatch(text, /town/, 'and nothing of another login')
})

t.test('from the id on an error page, as it was heard over the telephone, the whole login is told, in whatever order and files its lines are', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.start('agency')
  await browser.get(browser.callback(await browser.choose(page), { error: 'access_denied' }))
  const lines = gateway.log.map(line => line)
  const failed = lines.map(line => JSON.parse(line)).find(({ failure }) => failure === 'provider_refused')
  const spoken = `${failed.reqId.slice(0, 5).toLowerCase()} ${failed.reqId.slice(5)}`
  const [some, others] = [lines.filter((line, at) => at % 2 === 0), lines.filter((line, at) => at % 2 === 1)]
  const { code, text } = await explain([spoken, fileOf(t, others.reverse()), fileOf(t, some.map(line => `2026-11-29T05:00:00Z stdout F ${line}`))])
  t.equal(code, 0)
  t.match(text, new RegExp(`^Login ${login}, for the service agency, by taxes`))
  t.match(text, /4\.0\.5 {2}The citizen came back from the identity provider with an error \(identity provider taxes\) — NO: provider_refused \(the page says C05\): the identity provider refused the login, the identity provider's failure, request /)
})

t.test('where it stopped is said, and on whose side that is', async t => {
  const gateway = await testApp(t)
  const unfinished: Array<[what: string, begin: () => Promise<{ login: string }>, ending: RegExp]> = [
    ['not chosen', () => gateway.browser().start('agency'), /The citizen has not chosen an account/],
    ['at the provider', async () => {
      const browser = gateway.browser()
      const way = await browser.start('agency')
      await browser.choose(way.page)
      return way
    }, /is at the identity provider, or gave up there/],
    ['not agreed', () => gateway.browser().toConsent('agency'), /has not answered the page that says what will be sent/],
    ['not redeemed', () => gateway.browser().logIn('agency'), /with a code, which the service has not redeemed/],
    ['refused', async () => {
      const browser = gateway.browser()
      const way = await browser.toConsent('agency')
      await browser.agree(way.page, { decision: 'refuse' })
      return way
    }, /It did not end well: citizen_refused \(the page says B03\).*, the citizen's own doing, or the browser's\.\n$/]
  ]
  for (const [what, begin, ending] of unfinished) {
    const { login } = await begin()
    t.match((await explain([login], gateway.log.join(''))).text, ending, what)
  }
})

t.test('a request that belongs to no login is told by itself', async t => {
  const gateway = await testApp(t)
  await gateway.app.inject(`${base}/authorize?client_id=nobody`)
  const { reqId } = JSON.parse(gateway.log.at(-1)!)
  t.match(await explain([reqId], gateway.log.join('')), { code: 0, text: new RegExp(`^Request ${reqId}, which belongs to no login\\..*client_unknown \\(the page says A01\\)`, 's') })
})

t.test('what is not there, is no log or cannot be read is said, with an exit code of its own', async t => {
  const gateway = await testApp(t)
  await gateway.browser().start('agency')
  const garbage = ['', 'not json\n', '{"event":\n', '{"event":"token"}\n', '[1,2]\n', 'null\n', '{"event":5,"time":1,"reqId":"x"}\n', `{"event":"token","time":"${'9'.repeat(400)}","reqId":"A"}\n`]
  t.match(await explain(['WXYZ234567', fileOf(t, [...garbage, ...gateway.log])]), { code: 1, wrong: /nothing is known of WXYZ234567: \d+ events were read, of other logins/ })
  t.match(await explain(['WXYZ234567', fileOf(t, [])]), { code: 1, wrong: /0 events were read, none at all/ })
  t.match(await explain(['WXYZ234567', '/nowhere/at/all']), { code: 2, wrong: /\/nowhere\/at\/all: cannot be read \(ENOENT\)/ })
  t.match(await explain([]), { code: 2, wrong: /npm run explain -- ID/ })
  t.match(await explain(['--help']), { code: 2, wrong: /npm run explain -- ID/ })
})
