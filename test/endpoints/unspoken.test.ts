import { decodeJwt } from 'jose'
import t from 'tap'
import { clientDesk, inDevelopment } from '../support/client-desk.ts'
import { assertionOf, assertionType, createEncryptionKey, keyHolder, keyOf, requestObjectOf } from '../support/client-keys.ts'
import { findWords, wordsOf } from '../support/personal-data.ts'
import { base, citizen, requestOf, secretOf, testApp, type Arrival, type TestApp } from '../support/test-app.ts'

const scope = 'openid profile birth identite_pivot email'
/** What a service may say of a citizen in its own parameters. */
const personal = { scope, login_hint: citizen.email, state: `${citizen.family_name}-of-the-service`, nonce: `${citizen.given_name.normalize('NFD').replace(/\p{M}/gu, '')}-of-the-service`, claims: '{"userinfo":{"phone_number":null},"id_token":{"family_name":null}}' }
const words = [...wordsOf(citizen), 'Angele-of-the-service', 'Quiquempoix-of-the-service']

/** What opens a door or names somebody, collected as it comes by. */
function collect () {
  const seen = new Set<string>()
  return {
    seen,
    /** a secret, or each part of a JWT */
    add (...secrets: Array<string | undefined>) {
      for (const secret of secrets) for (const piece of secret?.startsWith('eyJ') ? secret.split('.').slice(1) : [secret]) if (piece !== undefined && piece.length > 12) seen.add(piece)
    }
  }
}

/** All that was written down so far. */
const written = async (gateway: TestApp) => gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body

t.test('a login by every new way, well or not, leaves nothing of the citizen and nothing that opens a door', async t => {
  const desk = await clientDesk(t)
  const encryption = createEncryptionKey('ECDH-ES')
  const jwks = (client: string) => ({ keys: [keyOf(client).published, encryption.published] })
  const written_for = { userinfo_signed_response_alg: 'ES256', userinfo_encrypted_response_alg: 'ECDH-ES', id_token_encrypted_response_alg: 'ECDH-ES' }
  const gateway = await testApp(t, {
    settings: inDevelopment,
    clients: {
      agency: { backchannel_logout_uri: `${desk.origin}/agency` },
      town: { backchannel_logout_uri: `${desk.origin}/town` },
      notary: { jwks: jwks('notary'), ...written_for, backchannel_logout_uri: `${desk.origin}/notary` },
      archive: { introspection_signed_response_alg: 'ES256' }
    }
  })
  desk.answers['/town'] = (response, heard) => { response.writeHead(400, { 'content-type': 'text/plain' }).end(`${citizen.family_name} ${heard.body}`) }
  const { seen, add } = collect()
  const { issuer } = gateway
  const holder = await keyHolder(gateway)

  /** What a client does with its code: wrong first, then right, then too often. */
  async function use (client: string, arrival: Arrival, proving = false) {
    const { parameters, code, code_verifier } = arrival
    add(code, code_verifier, parameters['nonce'], parameters['code_challenge'])
    const who = proving ? holder : undefined
    await gateway.redeem(arrival, { code_verifier: 'x'.repeat(43) }, client, who)
    const { body } = await gateway.redeem(arrival, {}, client, who)
    const { access_token, id_token } = body as Record<string, string>
    t.ok(access_token && id_token, `${client}: got its tokens`)
    add(access_token, id_token, who?.nonce)
    add((await gateway.userinfo(access_token!, who)).text)
    await gateway.userinfo(access_token!)                                // a bound one as Bearer
    for (const token of [access_token!, id_token!]) add((await gateway.postAs('archive', '/introspection', { token })).text)
    await gateway.postAs('town', '/revocation', { token: access_token })
    await gateway.redeem(arrival, {}, client, who)
    await gateway.postAs(client, '/revocation', { token: access_token })
    return id_token!
  }

  const browser = gateway.browser()
  const plain = await browser.logIn('agency', { changes: { ...personal, response_mode: 'form_post' } })
  const hint = await use('agency', plain)
  await use('town', await browser.logIn('town', { changes: personal }))
  const pushed = await gateway.push('vault', personal, holder)
  add(String(pushed.answer.body['request_uri']))
  await use('vault', await browser.logIn('vault', { pushed }), true)
  await gateway.browser().get(pushed.address)
  await gateway.browser().get(pushed.address.replace('client_id=vault', 'client_id=town'))

  const asked = requestOf('notary', personal)
  const request = await requestObjectOf('notary', asked.parameters, { issuer, now: gateway.now() })
  add(request)
  await use('notary', await browser.logIn('notary', { pushed: { ...asked, address: `${base}/authorize?${new URLSearchParams({ client_id: 'notary', request })}` } }))

  // and what goes wrong, with the same names in it
  for (const changes of [{ claims: { exp: 1 } }, { claims: { nonce: { family_name: citizen.family_name } } }, { header: { alg: 'none' } }, { header: { typ: citizen.family_name } }, { header: { kid: citizen.email } }]) {
    const object = await requestObjectOf('notary', asked.parameters, { issuer, now: gateway.now() }, changes)
    add(object)
    await gateway.browser().get(`${base}/authorize?${new URLSearchParams({ ...asked.parameters, request: object })}`)
    await gateway.postAs('notary', '/par', { request: object })
    const assertion = await assertionOf('notary', { issuer, now: gateway.now() }, { claims: { jti: citizen.email, ...changes.claims }, header: { ...changes.header } })
    add(assertion)
    for (const path of ['/token', '/par', '/introspection', '/revocation']) await gateway.post(path, { client_assertion_type: assertionType, client_assertion: assertion, token: citizen.email, code: citizen.family_name })
    const dpop = await holder.proof({ path: '/token' }, { claims: { jti: citizen.email, htu: `https://${citizen.family_name}.example`, ...changes.claims }, header: { ...changes.header } })
    add(dpop)
    await gateway.post('/token', {}, { dpop })
    await gateway.post('/par', {}, { dpop })
  }
  for (const [name, value] of Object.entries({ state: citizen.family_name + '\n', nonce: citizen.email.repeat(100), prompt: citizen.family_name, response_mode: citizen.family_name, request_uri: `https://${citizen.family_name}.example`, dpop_jkt: citizen.email, client_id: citizen.email, scope: `openid address ${citizen.family_name}` })) {
    await gateway.browser().start('agency', { ...personal, [name]: value })
    await gateway.push('agency', { ...personal, [name]: value })
  }
  await gateway.postAs('archive', '/introspection', { token: citizen.email })
  await gateway.postAs('agency', '/revocation', { token: citizen.email })
  await gateway.userinfo(Buffer.from(citizen.email).toString('base64url'))
  gateway.store.fail()
  await gateway.push('vault', personal, holder)
  await gateway.postAs('archive', '/introspection', { token: 'a-' + 'A'.repeat(43) })
  gateway.store.heal()

  await browser.get(`${base}/session/end?${new URLSearchParams({ id_token_hint: hint, state: citizen.family_name })}`)
  for (const path of ['/agency', '/town', '/notary']) await desk.reached(path, 1)
  while (await gateway.metric('passerelle_back_channel_logouts_total') < 3) await new Promise(resolve => setTimeout(resolve, 5))
  for (const { body } of desk.heard) add(body.get('logout_token') ?? '')
  const { sub, sid } = decodeJwt(desk.at('/agency')[0]!.body.get('logout_token')!)
  add(sub, String(sid), ...Object.values(browser.cookies()), ...['agency', 'town', 'archive'].map(secretOf))

  const text = await written(gateway)
  t.match(text, /"event":"token"[^]*"event":"introspection"[^]*back-channel logout/, 'the search looks at the log')
  t.match(text, /passerelle_back_channel_logouts_total\{outcome="refused"\} 1/, 'and at the metrics')
  t.ok(seen.size > 60, `${seen.size} secrets are looked for`)
  t.strictSame(findWords(text, words), [], 'no name, in no spelling')
  t.strictSame([...seen].filter(secret => text.includes(secret)), [], 'no code, token, assertion, proof, request or handle')
  for (const line of gateway.log) t.doesNotThrow(() => JSON.parse(line))
})

t.test('what a browser and a client carry of it tells nothing of anyone', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const pushed = await gateway.push('vault', personal, holder)
  const browser = gateway.browser()
  const { page } = await browser.toConsent('vault', { pushed })
  t.match(page.body, /Quiquempoix/, 'the citizen reads it')
  const cookies = Object.entries(browser.cookies())
  const nonce = holder.nonce!
  for (const [name, value] of [...cookies, ['request_uri', String(pushed.answer.body['request_uri'])], ['nonce', nonce]] as Array<[string, string]>) {
    const opened = value.split('.').map(piece => Buffer.from(piece, 'base64url').toString('latin1')).join(' ')
    t.strictSame(findWords(`${value} ${opened}`, words), [], name)
  }
  const end = await browser.agree(page)
  const { state, ...others } = Object.fromEntries(end.query)
  t.strictSame(Object.keys(others).sort(), ['code', 'iss'])
  t.strictSame(findWords(JSON.stringify(others), words), [], 'nor what goes back')
})
