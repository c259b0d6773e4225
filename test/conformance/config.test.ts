import t from 'tap'
import { checkEndpoints, startStage } from './support.ts'

t.test('Config OP', async t => {
  const { call, issuer, metadata, jwks } = await startStage(t, {})

  t.test('oidcc-discovery-endpoint-verification: the discovery document and the keys hold what the specifications require', async t => {
    const { status, headers } = await call(`${issuer}/.well-known/openid-configuration`)
    t.equal(status, 200)
    t.match(headers['content-type'], /^application\/json\b/)
    t.equal(metadata['issuer'], issuer)
    checkEndpoints(t, metadata)

    t.same(metadata['response_types_supported'], ['code'])
    t.same(metadata['subject_types_supported'], ['pairwise'])
    t.ok((metadata['id_token_signing_alg_values_supported'] as string[]).includes('RS256'), 'RS256 for clients that say nothing of it')
    t.ok(metadata.grant_types_supported.includes('authorization_code'))
    t.ok(metadata.scopes_supported.includes('openid'))
    t.ok(metadata.claims_supported.includes('sub'))
    t.equal(metadata['claims_parameter_supported'], true)
    for (const name of ['request_parameter_supported', 'request_uri_parameter_supported']) t.type(metadata[name], 'boolean', `${name} is told: what is not told of request_uri counts as yes`)
    for (const name of ['userinfo_signing_alg_values_supported', 'request_object_signing_alg_values_supported']) {
      if (name in metadata) t.ok((metadata[name] as string[]).includes('RS256'), `${name}, where it is told, has RS256`)
    }

    t.ok(jwks.keys.length > 0)
    t.equal(new Set(jwks.keys.map(({ kid }) => kid)).size, jwks.keys.length, 'each key has a kid of its own')
    for (const key of jwks.keys) {
      t.match(key, { kid: /./, use: 'sig', alg: /^[REP]S256$|^EdDSA$/ })
      t.same(Object.keys(key).filter(name => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].includes(name)), [], `${key.kid}: nothing private`)
      for (const name of ['n', 'e', 'x', 'y'] as const) t.match(key[name] ?? 'absent', /^[\w-]+$/, `${key.kid}: ${name} is base64url`)
    }
  })
})
