import t, { type Test } from 'tap'
import { connect, type SecureVersion } from 'node:tls'
import { exportJWK } from 'jose'
import { citizens, claimsAt } from '../world/citizens.ts'
import {
  askBound, askWithChallenge, checkPushed, enter, enterForTokens, frontChannel, makeKey, party, push, redeemBound, registrationOf, thumbprint, withOtherSignature, withoutSignature,
  type Bent, type Nonces, type Party, type Way
} from './fapi2.ts'
import {
  authorize, checkCode, checkEndpoints, checkError, checkErrorPage, checkRefusal, checkTokens, checkUserinfo, digest, random, relyingParty, startStage,
  type Answer, type Parameters, type Walk
} from './support.ts'

t.test('FAPI 2.0 Security Profile OP: private_key_jwt, DPoP, unsigned requests, plain responses', async t => {
  const [one, two, proofOne, proofTwo] = await Promise.all([makeKey('PS256'), makeKey('ES256'), makeKey('PS256'), makeKey('ES256')])
  const rp = party('rp', one, proofOne)
  const rp2 = party('rp2', two, proofTwo, '?dummy1=lorem&dummy2=ipsum')
  const scopes = ['openid', 'profile', 'email', 'phone', 'address']
  const stage = await startStage(t, { rp: registrationOf(rp, scopes), rp2: registrationOf(rp2, scopes) })
  const { metadata, now } = stage
  const marion = claimsAt('vitalys', citizens.find(({ username }) => username === 'marion')!)

  /** From the request to userinfo. */
  async function wholeFlow (t: Test, client: Party = rp, way: Way = {}) {
    const entered = await enterForTokens(t, stage, client, way)
    const answer = await askBound(stage, client, entered.tokens, way.asking)
    t.ok(Date.parse(String(answer.headers['date'])) > 0, 'the answer of userinfo has its date')
    return { ...entered, userinfo: checkUserinfo(t, answer, entered.tokens) }
  }

  const invalidClient = { invalid_client: [400, 401], invalid_request: [400] }
  const badProof = { invalid_request: [400], invalid_grant: [400], invalid_dpop_proof: [400] }
  const invalidGrant = { invalid_grant: [400] }
  const invalidRequest = { invalid_request: [400], invalid_request_object: [400] }

  /** The token endpoint refuses a code with one of these errors. */
  async function tokenRefused (t: Test, errors: Record<string, number[]>, sending: NonNullable<Way['redeeming']>, { client = rp, way = {}, form = {} }: { client?: Party, way?: Way, form?: Parameters } = {}) {
    const entered = await enter(t, stage, rp, way)
    checkRefusal(t, await redeemBound(stage, client, { ...entered.form, redirect_uri: rp.redirect_uri, ...form }, sending), errors, 'the token request')
    return entered
  }

  /** A pushed request is refused with one of these errors. */
  async function pushRefused (t: Test, errors: Record<string, number[]>, changes: Record<string, string | undefined>, pushing: NonNullable<Way['pushing']> = {}) {
    checkRefusal(t, await push(stage, rp, askWithChallenge(rp, changes).asked, pushing), errors, 'the pushed request')
  }

  /** A request_uri is refused, by a page or to the client. */
  function requestUriRefused (t: Test, asked: Parameters, walk: Walk) {
    if (walk.callback) checkError(t, stage, rp, asked, walk, ['invalid_request_uri'])
    else checkErrorPage(t, stage, walk)
  }

  t.test('fapi2-security-profile-final-discovery-end-point-verification: the discovery document holds what the profile requires', async t => {
    const holds = (name: string, ...wanted: string[]) => t.ok((metadata[name] as string[]).some(value => wanted.includes(value)), `${name} has one of ${wanted.join(', ')}`)
    checkEndpoints(t, metadata)
    t.match(metadata.pushed_authorization_request_endpoint, /^https:/)
    t.equal(metadata['authorization_response_iss_parameter_supported'], true)
    t.type(metadata['require_pushed_authorization_requests'], 'boolean')
    holds('response_types_supported', 'code')
    holds('scopes_supported', 'openid')
    holds('subject_types_supported', 'pairwise', 'public')
    holds('code_challenge_methods_supported', 'S256')
    holds('token_endpoint_auth_methods_supported', 'private_key_jwt')
    for (const name of ['token_endpoint_auth', 'dpop', 'id_token', 'userinfo']) holds(`${name}_signing_alg_values_supported`, 'PS256', 'ES256', 'EdDSA')
    for (const scope of scopes) t.ok(metadata.scopes_supported.includes(scope), scope)
  })

  t.test('fapi2-security-profile-final-happy-flow: two clients log a citizen in, each by its own variations, and neither can use the token of the other', async t => {
    const nonces: Nonces = {}
    const { tokens } = await wholeFlow(t, rp, { redeeming: { nonces }, asking: { nonces, headers: dpop => ({ dpop, 'x-fapi-auth-date': 'Tue, 11 Sep 2012 19:43:31 GMT', 'x-fapi-customer-ip-address': '198.51.100.119', 'x-fapi-interaction-id': 'c770aef3-6784-41f7-8e0e-ff5f97bddb3a' }) } })
    t.match(tokens.claims, { aud: 'rp', acr: 'eidas1' })
    t.ok(nonces.server && nonces.resource, 'a nonce is asked for everywhere')

    const dpop = await (async () => { let proof = ''; await askBound(stage, rp, tokens, { nonces, headers: made => { proof = made; return {} } }); return proof })()
    const inQuery = await stage.call(`${metadata.userinfo_endpoint}?access_token=${tokens.access_token}`, { headers: { dpop } })
    t.ok([400, 401, 414].includes(inQuery.status), 'a token in the query is none')
    for (const accept of ['application/json;charset=UTF-8', 'application/json, application/*+json, */*']) {
      checkUserinfo(t, await askBound(stage, rp, tokens, { nonces, headers: dpop => ({ dpop, accept, 'accept-charset': 'UTF-8' }) }), tokens)
    }

    const second = await wholeFlow(t, rp2, { changes: { state: random(128), nonce: random(43), dpop_jkt: await thumbprint(proofTwo) } })
    t.not(second.tokens.claims.sub, tokens.claims.sub)
    const { status } = await askBound(stage, rp, second.tokens, { nonces })
    t.equal(status, 401, 'the key of the first client does not go with the token of the second')
  })

  t.test('fapi2-security-profile-final-user-rejects-authentication: a citizen who refuses is access_denied to both clients', async t => {
    for (const client of [rp, rp2]) {
      const { asked } = askWithChallenge(client, { state: random(128) })
      const { request_uri } = checkPushed(t, await push(stage, client, asked))
      checkError(t, stage, client, asked, await authorize(stage, stage.newBrowser(), frontChannel(asked, request_uri), { decision: 'refuse' }), ['access_denied'])
    }
  })

  t.test('fapi2-security-profile-final-ensure-authorization-request-without-state-success: without a state the client gets none', async t => {
    const { walk, tokens } = await wholeFlow(t, rp, { changes: { state: undefined } })
    t.notOk('state' in walk.callback!.parameters)
    t.notOk('s_hash' in tokens.claims)
  })

  t.test('fapi2-security-profile-final-ensure-authorization-request-without-nonce-success: without a nonce the ID Token has none', async t => {
    t.notOk('nonce' in (await wholeFlow(t, rp, { changes: { nonce: undefined } })).tokens.claims)
  })

  t.test('fapi2-security-profile-final-ensure-authorization-request-with-64-char-nonce-success: a nonce of 64 characters comes back whole', async t => {
    const nonce = random(64)
    t.equal((await wholeFlow(t, rp, { changes: { nonce } })).tokens.claims['nonce'], nonce)
  })

  t.test('fapi2-security-profile-final-ensure-other-scope-order-succeeds: the order of scopes means nothing', async t => {
    t.match((await wholeFlow(t, rp, { changes: { scope: 'email profile openid' } })).userinfo, { email: marion['email'], family_name: marion['family_name'] })
  })

  t.test('fapi2-security-profile-final-test-claims-parameter-identity-claims: every standard claim can be asked for singly, in every form, and what nobody understands is ignored', async t => {
    const standard = ['sub', 'name', 'given_name', 'family_name', 'middle_name', 'nickname', 'preferred_username', 'profile', 'picture', 'website', 'email', 'email_verified', 'gender', 'birthdate', 'zoneinfo', 'locale', 'phone_number', 'phone_number_verified', 'address', 'updated_at']
    const names = metadata.claims_supported.filter(name => standard.includes(name))
    t.ok(names.length > 10)
    const forms = [null, {}, { essential: true }, { [random(10)]: random(10) }, { essential: false }]
    const request = (asked: string[]) => Object.fromEntries(asked.map((name, index) => [name, forms[index % forms.length]]))
    const claims = JSON.stringify({ id_token: request(names), userinfo: request(names), [random(10)]: request([random(10)]) })

    const { userinfo, tokens } = await wholeFlow(t, rp, { changes: { scope: 'openid', claims } })
    const told = names.filter(name => name in marion)
    t.ok(told.length > 7)
    for (const name of told) {
      t.same(userinfo[name], marion[name], `${name} at userinfo`)
      t.same(tokens.claims[name], marion[name], `${name} in the ID Token`)
    }
    t.same(Object.keys(userinfo).filter(name => name !== 'sub' && !told.includes(name)), [], 'nothing beyond at userinfo')
  })

  t.test('fapi2-security-profile-final-access-token-type-header-case-sensitivity: the scheme of the Authorization header is read in any case', async t => {
    await wholeFlow(t, rp, { asking: { scheme: 'dpOp' } })
  })

  t.test('fapi2-security-profile-final-check-dpop-proof-nbf-exp: a proof may have nbf and exp', async t => {
    const proof: Bent = { claims: { nbf: now(), exp: now() + 300 } }
    await wholeFlow(t, rp, { redeeming: { proof }, asking: { proof } })
  })

  const everywhere = (seconds: number): Way => {
    const proof = { claims: { iat: now() + seconds } }
    return { pushing: { proof }, redeeming: { proof }, asking: { proof } }
  }

  t.test('fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-before-succeeds: proofs of a clock that is ten seconds slow are taken everywhere', async t => {
    await wholeFlow(t, rp, everywhere(-10))
  })

  t.test('fapi2-security-profile-final-ensure-dpopproof-with-iat-10seconds-after-succeeds: proofs of a clock that is eight seconds fast are taken everywhere', async t => {
    await wholeFlow(t, rp, everywhere(8))
  })

  t.test('fapi2-security-profile-final-ensure-mismatched-dpop-jkt-fails: a pushed request is refused when its proof is not by the key that dpop_jkt names', async t => {
    await pushRefused(t, { invalid_request: [400], invalid_dpop_proof: [400] }, { dpop_jkt: await thumbprint(proofTwo) }, { proof: {} })
  })

  t.test('fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt: a code is bound to the key that proved the pushed request', async t => {
    await tokenRefused(t, badProof, { proof: { key: proofTwo } }, { way: { pushing: { proof: {} } } })
  })

  t.test('fapi2-security-profile-final-ensure-token-endpoint-fails-with-mismatched-dpop-jkt: a code is bound to the key that dpop_jkt names', async t => {
    await tokenRefused(t, badProof, { proof: {} }, { way: { changes: { dpop_jkt: await thumbprint(proofTwo) } } })
  })

  t.test('fapi2-security-profile-final-ensure-dpopproof-at-par-endpoint-binding-success: the same key proves the pushed request and the token request', async t => {
    await wholeFlow(t, rp, { pushing: { proof: {} } })
  })

  t.test('fapi2-security-profile-final-ensure-dpop-auth-code-binding-success: dpop_jkt, the pushed request and the token request name the same key', async t => {
    await wholeFlow(t, rp, { changes: { dpop_jkt: await thumbprint(proofOne) }, pushing: { proof: {} } })
  })

  t.test('fapi2-security-profile-final-ensure-different-nonce-inside-and-outside-request-object: the nonce that was pushed counts, not the one beside it', async t => {
    const nonce = random(10)
    t.equal((await wholeFlow(t, rp, { changes: { nonce }, outside: { nonce: random(10) } })).tokens.claims['nonce'], nonce)
  })

  t.test('fapi2-security-profile-final-ensure-different-state-inside-and-outside-request-object: the state that was pushed counts, not the one beside it', async t => {
    const state = random(10)
    t.equal((await wholeFlow(t, rp, { changes: { state }, outside: { state: random(10) } })).walk.callback!.parameters['state'], state)
  })

  t.test('fapi2-security-profile-final-ensure-authorization-request-with-long-nonce: a nonce of 384 characters comes back whole', async t => {
    const nonce = random(384)
    t.equal((await wholeFlow(t, rp, { changes: { nonce } })).tokens.claims['nonce'], nonce)
  })

  t.test('fapi2-security-profile-final-ensure-authorization-request-with-long-state: a state of 1000 characters is refused when it is pushed, or comes back whole', async t => {
    const { asked } = askWithChallenge(rp, { state: random(1000) })
    const pushed = await push(stage, rp, asked)
    if (pushed.status !== 201) return checkRefusal(t, pushed, { invalid_request: [400] })
    checkCode(t, stage, rp, asked, await authorize(stage, stage.newBrowser(), frontChannel(asked, checkPushed(t, pushed).request_uri)))
  })

  t.test('fapi2-security-profile-final-state-only-outside-request-object-not-used: a state that was not pushed is not sent back', async t => {
    const { walk } = await wholeFlow(t, rp, { changes: { state: undefined }, outside: { state: random(10) } })
    t.notOk('state' in walk.callback!.parameters)
  })

  t.test('fapi2-security-profile-final-ensure-request-object-without-redirect-uri-fails: a pushed request without redirect_uri is refused', async t => {
    await pushRefused(t, invalidRequest, { redirect_uri: undefined })
  })

  t.test('fapi2-security-profile-final-plain-fapi-tolerate-unregistered-redirect-uri: a pushed request with an address that is not registered is refused', async t => {
    await pushRefused(t, invalidRequest, { redirect_uri: `${relyingParty}/${random(10)}` })
  })

  t.test('fapi2-security-profile-final-ensure-unsigned-authorization-request-without-using-par-fails: a request that was not pushed is refused', async t => {
    const { asked } = askWithChallenge(rp)
    checkError(t, stage, rp, asked, await authorize(stage, stage.newBrowser(), asked), ['invalid_request'])
  })

  t.test('fapi2-security-profile-final-ensure-redirect-uri-in-authorization-request: a request that nowhere says redirect_uri is refused', async t => {
    await pushRefused(t, invalidRequest, { redirect_uri: undefined })
    const { redirect_uri, ...asked } = askWithChallenge(rp).asked
    checkErrorPage(t, stage, await authorize(stage, stage.newBrowser(), asked))
  })

  const wrongType = { unsupported_response_type: [400], invalid_request: [400], unauthorized_client: [400] }

  t.test('fapi2-security-profile-final-ensure-response-type-code-idtoken-fails: response_type code id_token is refused', async t => {
    await pushRefused(t, wrongType, { response_type: 'code id_token' })
  })

  t.test('fapi2-security-profile-final-ensure-response-type-token-fails: response_type token is refused', async t => {
    await pushRefused(t, wrongType, { response_type: 'token' })
  })

  t.test('fapi2-security-profile-final-ensure-client-id-in-token-endpoint: a client that signs for another is refused', async t => {
    await tokenRefused(t, { invalid_client: [400, 401], invalid_grant: [400] }, { assertion: { key: one, header: { kid: one.jwk.kid } }, form: { client_id: 'rp2' } }, { client: { ...rp2, proofKey: proofOne } })
  })

  t.test('fapi2-security-profile-final-ensure-holder-of-key-required: a token request without a proof is refused, and TLS is what the profile allows', async t => {
    await tokenRefused(t, badProof, { proof: undefined })

    t.equal(await negotiated(stage.issuer, {}), 'TLSv1.3', 'TLS 1.3 is preferred')
    t.equal(await negotiated(stage.issuer, { maxVersion: 'TLSv1.2' }), 'TLSv1.2')
    for (const version of ['TLSv1', 'TLSv1.1'] as const) t.equal(await negotiated(stage.issuer, { minVersion: version, maxVersion: version, ciphers: 'ALL@SECLEVEL=0' }), undefined, `${version} is refused`)
    // all that a certificate with an elliptic-curve key could be used with in TLS 1.2, but for what BCP 195 recommends
    for (const ciphers of ['ECDHE-ECDSA-AES128-SHA256', 'ECDHE-ECDSA-AES256-SHA384', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA', 'ECDHE-ECDSA-AES128-CCM', 'ECDHE-ECDSA-AES256-CCM']) {
      t.equal(await negotiated(stage.issuer, { maxVersion: 'TLSv1.2', ciphers: `${ciphers}:@SECLEVEL=0` }), undefined, `${ciphers} is refused`)
    }
  })

  t.test('fapi2-security-profile-final-ensure-authorization-code-is-bound-to-client: another client cannot redeem the code', async t => {
    await tokenRefused(t, invalidGrant, {}, { client: rp2 })
  })

  t.test('fapi2-security-profile-final-attempt-reuse-authorization-code-after-one-second: a code is refused a second later, and its access token is dead', async t => {
    const nonces: Nonces = {}
    const { form, tokens } = await wholeFlow(t, rp, { asking: { nonces } })
    await stage.later(1, async () => {
      checkRefusal(t, await redeemBound(stage, rp, form), invalidGrant)
      t.equal((await askBound(stage, rp, tokens, { nonces })).status, 401)
    })
  })

  t.test('fapi2-security-profile-final-ensure-token-endpoint-fails-with-expired-auth-code: a code is refused when its minute is over', async t => {
    const { form } = await enter(t, stage, rp)
    await stage.later(62, async () => checkRefusal(t, await redeemBound(stage, rp, form), invalidGrant))
  })

  t.test('fapi2-security-profile-final-ensure-signed-client-assertion-with-RS256-fails: an assertion signed with RS256 is refused', async t => {
    await tokenRefused(t, { invalid_client: [400, 401] }, { assertion: { alg: 'RS256' } })
  })

  t.test('fapi2-security-profile-final-ensure-client-assertion-in-token-endpoint: a token request without an assertion is refused', async t => {
    await tokenRefused(t, invalidClient, { assertion: null })
  })

  t.test('fapi2-security-profile-final-ensure-client-assertion-with-exp-is-5-minutes-in-past-fails: an assertion that is over is refused', async t => {
    await tokenRefused(t, invalidClient, { assertion: { claims: { exp: now() - 300 } } })
  })

  t.test('fapi2-security-profile-final-ensure-client-assertion-with-wrong-aud-fails: an assertion for somebody else is refused', async t => {
    await tokenRefused(t, invalidClient, { assertion: { claims: { aud: 'https://other.example/userinfo' } } })
  })

  t.test('fapi2-security-profile-final-ensure-client-assertion-with-no-sub-fails: an assertion without sub is refused', async t => {
    await tokenRefused(t, invalidClient, { assertion: { claims: { sub: undefined } } })
  })

  t.test('fapi2-security-profile-final-ensure-invalid-client-assertions-fail: every assertion that is wrong in one way is refused when a request is pushed, and a right one is taken', async t => {
    const type = 'client_assertion_type'
    const wrong: Record<string, NonNullable<Way['pushing']>> = {
      'no assertion': { assertion: null },
      'no type': { form: { [type]: undefined } },
      'another type': { form: { [type]: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer' } },
      'no sub': { assertion: { claims: { sub: undefined } } },
      'another sub': { assertion: { claims: { sub: 'rp2' } } },
      'no iss': { assertion: { claims: { iss: undefined } } },
      'another iss': { assertion: { claims: { iss: 'rp2' } } },
      'no aud': { assertion: { claims: { aud: undefined } } },
      'another aud': { assertion: { claims: { aud: 'https://other.example/userinfo' } } },
      'the endpoint as aud': { assertion: { claims: { aud: metadata.pushed_authorization_request_endpoint } } },
      'the token endpoint as aud': { assertion: { claims: { aud: metadata.token_endpoint } } },
      'a list as aud': { assertion: { claims: { aud: [stage.issuer, metadata.token_endpoint] } } },
      'exp in the past': { assertion: { claims: { exp: now() - 300 } } },
      'a minute ahead': { assertion: { claims: { iat: now() + 62, nbf: now() + 62, exp: now() + 122 } } },
      'signed with RS256': { assertion: { alg: 'RS256' } },
      'alg none': { assertion: { after: jwt => withoutSignature(jwt) } },
      'another signature': { assertion: { after: withOtherSignature } }
    }
    for (const [name, pushing] of Object.entries(wrong)) checkRefusal(t, await push(stage, rp, askWithChallenge(rp).asked, pushing), invalidClient, name)
    for (const claims of [{ iat: now() + 8, nbf: now() + 8 }, {}]) checkPushed(t, await push(stage, rp, askWithChallenge(rp).asked, { assertion: { claims } }))
  })

  t.test('fapi2-security-profile-final-dpop-negative-tests: a proof at userinfo is looked at in every detail that RFC 9449 names', async t => {
    const nonces: Nonces = {}
    const { tokens } = await wholeFlow(t, rp, { asking: { nonces } })
    const ask = (asking: NonNullable<Way['asking']> = {}) => askBound(stage, rp, tokens, { nonces, ...asking })
    const taken = async (name: string, asking?: NonNullable<Way['asking']>) => { const { status, text } = await ask(asking); t.equal(status, 200, `${name}: ${text}`) }
    const refused = async (name: string, asking: NonNullable<Way['asking']>) => {
      const { status, headers } = await ask(asking)
      t.ok(status === 400 || status === 401, `${name}: ${status}`)
      t.notMatch(String(headers['www-authenticate']), /use_dpop_nonce/, `${name}: for its own reason`)
      if (status === 401) t.match(String(headers['www-authenticate']), /^(DPoP|Bearer) /, `${name}: with a challenge`)
    }
    const bent = (proof: Bent) => ({ proof })
    const { htu, jwk, d } = { htu: metadata.userinfo_endpoint, ...await privateMembers() }

    await taken('the header in capitals', { headers: proof => ({ DPOP: proof }) })
    await refused('two proofs', { headers: async proof => ({ dpop: [proof, await anotherProof()] }) })
    await refused('a proof that is no JWT', bent({ after: jwt => jwt.split('.').slice(0, 2).join('.') }))
    await refused('no typ', bent({ header: { typ: undefined } }))
    await refused('no alg', bent({ after: jwt => [Buffer.from(JSON.stringify({ alg2: 'PS256', typ: 'dpop+jwt', jwk })).toString('base64url'), ...jwt.split('.').slice(1)].join('.') }))
    await refused('no jwk', bent({ header: { jwk: undefined } }))
    for (const name of ['jti', 'htm', 'htu', 'iat', 'ath']) await refused(`no ${name}`, bent({ claims: { [name]: undefined } }))
    await refused('another typ', bent({ header: { typ: 'dpop+jwt+other' } }))
    await refused('signed with RS256, which FAPI does not allow', bent({ alg: 'RS256' }))
    await refused('alg none', bent({ after: jwt => withoutSignature(jwt, { typ: 'dpop+jwt' }) }))
    await refused('another signature', bent({ after: withOtherSignature }))
    await refused('a private key in the header', bent({ header: { jwk: { ...jwk, ...d } } }))
    await refused('another method', bent({ claims: { htm: 'PUT' } }))
    await taken('an address with a query and a fragment', bent({ claims: { htu: `${htu}?some=query#and-fragment` } }))
    await taken('an address without them', bent({ claims: { htu } }))
    await refused('another address', bent({ claims: { htu: `${htu}/more` } }))
    for (const iat of [now() + 3600, now() - 3600]) await refused(`made an hour off, at ${iat}`, { ...bent({ claims: { iat } }), nonces: {} })
    const jti = random(15)
    await taken('a jti for the first time', bent({ claims: { jti } }))
    await refused('the same jti for a second time', bent({ claims: { jti } }))
    await refused('the hash of another token', bent({ claims: { ath: digest(random(10)).toString('base64url') } }))
    await refused('another key', bent({ key: proofTwo }))
    await taken('members that nobody knows', bent({ header: { tx_id: now() + 3600 }, claims: { tx_id_key: now() + 3600 } }))
    await taken('scheme and host in capitals', bent({ claims: { htu: htu.replace(/^https:\/\/[^:/]+/, origin => origin.toUpperCase()) } }))
    await refused('no proof', { headers: () => ({}) })
    await refused('no proof, and the scheme Bearer', { headers: () => ({}), scheme: 'Bearer' })
    await taken('nothing wrong at all')

    async function anotherProof () {
      let made = ''
      await ask({ headers: proof => { made = proof; return {} } })
      return made
    }
    async function privateMembers () {
      const { kty, n, e, ...rest } = await exportJWK(proofOne.privateKey)
      return { jwk: { kty, n, e }, d: rest }
    }
  })

  t.test('fapi2-security-profile-final-refresh-token: no refresh token is given, and none is promised', async t => {
    await enterForTokens(t, stage, rp)
    t.notOk(metadata.grant_types_supported.includes('refresh_token'))
    t.notOk(metadata.scopes_supported.includes('offline_access'))
  })

  t.test('fapi2-security-profile-final-par-ensure-reused-request-uri-prior-to-auth-completion-succeeds: a request_uri can be visited again until the citizen is through', async t => {
    const browser = stage.newBrowser()
    const { asked } = askWithChallenge(rp)
    const address = frontChannel(asked, checkPushed(t, await push(stage, rp, asked)).request_uri)
    const first = await browser.get(`${metadata.authorization_endpoint}?${new URLSearchParams(address)}`)
    t.ok(first.links.includes('idp-vitalys'), 'a page to choose on')
    checkCode(t, stage, rp, asked, await authorize(stage, browser, address))
  })

  t.test('fapi2-security-profile-final-par-attempt-reuse-request_uri: a request_uri is refused once its code was given', async t => {
    const { asked, request_uri, browser } = await wholeFlow(t)
    requestUriRefused(t, asked, await authorize(stage, browser, frontChannel(asked, request_uri)))
  })

  t.test('fapi2-security-profile-final-par-attempt-to-use-expired-request_uri: a request_uri is refused when its time is over', async t => {
    const { asked } = askWithChallenge(rp)
    const { request_uri, expires_in } = checkPushed(t, await push(stage, rp, asked))
    await stage.later(expires_in + 1, async () => requestUriRefused(t, asked, await authorize(stage, stage.newBrowser(), frontChannel(asked, request_uri))))
  })

  t.test('fapi2-security-profile-final-par-attempt-to-use-request_uri-for-different-client: a request_uri is refused to another client', async t => {
    const { asked } = askWithChallenge(rp)
    const { request_uri } = checkPushed(t, await push(stage, rp, asked))
    checkErrorPage(t, stage, await authorize(stage, stage.newBrowser(), frontChannel({ ...asked, client_id: 'rp2' }, request_uri)))
  })

  t.test('fapi2-security-profile-final-par-authorization-request-containing-request_uri-form-param: a pushed request with a request_uri is refused', async t => {
    await pushRefused(t, { ...invalidRequest, request_uri_not_supported: [400] }, {}, { form: { request_uri: `urn:example:${random(43)}` } })
  })

  t.test('fapi2-security-profile-final-par-attempt-invalid-http-method: a request is pushed by POST and by no other method', async t => {
    const { status }: Answer = await push(stage, rp, askWithChallenge(rp).asked, { method: 'PUT' })
    t.ok(status >= 400 && status < 600, String(status))
  })

  t.test('fapi2-security-profile-final-par-ensure-pkce-required: a pushed request without PKCE is refused', async t => {
    await pushRefused(t, { invalid_request: [400] }, { code_challenge: undefined, code_challenge_method: undefined })
  })

  t.test('fapi2-security-profile-final-ensure-pkce-code-verifier-required: a token request without the verifier is refused', async t => {
    await tokenRefused(t, invalidGrant, { form: { code_verifier: undefined } })
  })

  t.test('fapi2-security-profile-final-incorrect-pkce-code-verifier-rejected: a token request with another verifier is refused', async t => {
    await tokenRefused(t, invalidGrant, {}, { form: { code_verifier: random(43) } })
  })

  t.test('fapi2-security-profile-final-par-plain-pkce-rejected: a pushed request with plain PKCE is refused', async t => {
    await pushRefused(t, { invalid_request: [400] }, { code_challenge: random(43), code_challenge_method: 'plain' })
  })

  t.test('fapi2-security-profile-final-par-without-duplicate-parameters: client_id and request_uri are all that the authorization endpoint needs', async t => {
    const { asked, code_verifier } = askWithChallenge(rp)
    const { request_uri } = checkPushed(t, await push(stage, rp, asked))
    const code = checkCode(t, stage, rp, asked, await authorize(stage, stage.newBrowser(), { client_id: 'rp', request_uri }))
    await checkTokens(t, stage, rp, asked, await redeemBound(stage, rp, { code, code_verifier }))
  })

  t.test('fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted: an assertion eight seconds ahead is taken', async t => {
    await wholeFlow(t, rp, { pushing: { assertion: { claims: { iat: now() + 8, nbf: now() + 8 } } } })
  })

  t.test('fapi2-security-profile-final-par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails: an assertion a minute ahead is refused', async t => {
    await pushRefused(t, invalidClient, {}, { assertion: { claims: { iat: now() + 62, nbf: now() + 62, exp: now() + 122 } } })
  })

  t.test('fapi2-security-profile-final-par-test-array-as-audience-fails: an assertion with a list as aud is refused', async t => {
    for (const aud of [[stage.issuer, metadata.token_endpoint], [stage.issuer]]) await pushRefused(t, invalidClient, {}, { assertion: { claims: { aud } } })
  })

  t.test('fapi2-security-profile-final-par-test-par-endpoint-url-as-audience-fails: an assertion for the endpoint itself is refused', async t => {
    await pushRefused(t, invalidClient, {}, { assertion: { claims: { aud: metadata.pushed_authorization_request_endpoint } } })
  })

  t.test('fapi2-security-profile-final-par-test-token-endpoint-url-as-audience-fails: an assertion for the token endpoint is refused', async t => {
    await pushRefused(t, invalidClient, {}, { assertion: { claims: { aud: metadata.token_endpoint } } })
  })
})

interface Offer { minVersion?: SecureVersion, maxVersion?: SecureVersion, ciphers?: string }

/** The version of TLS that a server agrees to, undefined when it does not agree. */
const negotiated = (issuer: string, offer: Offer) => new Promise<string | null | undefined>(resolve => {
  const { port, hostname } = new URL(issuer)
  const socket = connect({ host: '127.0.0.1', port: Number(port), servername: hostname, rejectUnauthorized: false, ...offer }, () => {
    resolve(socket.getProtocol())
    socket.destroy()
  }).once('error', () => resolve(undefined))
})
