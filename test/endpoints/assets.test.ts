import t from 'tap'
import { base, testApp } from '../support/test-app.ts'

t.test('what pages show is there, for ever, under a name that changes with it', async t => {
  const gateway = await testApp(t)
  const { page } = await gateway.browser().start('agency')
  const paths = [...page.body.matchAll(/(?:href|src)="([^"]*\/assets\/[^"]+)"/g)].map(([, path]) => path!)
  t.ok(paths.some(path => path.endsWith('.css')) && paths.some(path => path.endsWith('.svg')))
  for (const path of new Set(paths)) {
    const answer = await gateway.app.inject(path)
    t.match(answer, { statusCode: 200, headers: { 'cache-control': 'public, max-age=31536000, immutable', 'x-content-type-options': 'nosniff', 'content-type': path.endsWith('.css') ? /^text\/css/ : /^image\/svg\+xml/ } }, path)
    t.match(answer.headers['content-security-policy'], /default-src 'none'.*sandbox/, `${path}: opened by itself it runs nothing`)
    t.equal(answer.headers['set-cookie'], undefined)
  }
})

t.test('nothing else is there', async t => {
  const { app } = await testApp(t)
  for (const name of ['', 'x', 'style.css', '../../package.json', '..%2f..%2fpackage.json', '%2e%2e/passerelle.yaml', 'keys/subject.json', '__proto__', 'constructor', 'a%00.css', '%ZZ', '%FF', 'a'.repeat(5000)]) {
    const { statusCode, headers, body } = await app.inject(`${base}/assets/${name}`)
    t.ok(statusCode >= 400 && statusCode < 500, `${name.slice(0, 20)}: ${statusCode}`)
    t.equal(headers['x-content-type-options'], 'nosniff', name.slice(0, 20))
    t.notMatch(body, /passerelle"|kty/)
  }
})

t.test('a store that is away changes nothing', async t => {
  const gateway = await testApp(t)
  const { page } = await gateway.browser().start('agency')
  gateway.store.fail()
  t.equal((await gateway.app.inject(/href="([^"]*\.css)"/.exec(page.body)![1]!)).statusCode, 200)
})
