import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { buildApp } from '../src/app.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { makeNextKeys } from '../src/keys.ts'
import { failures, type Failure } from '../src/protocol/errors.ts'
import { temporaryDirectory } from './support/gateway.ts'
import { findWords, wordsOf } from './support/personal-data.ts'
import { until } from './support/redis.ts'
import { createBrowser } from './world/browser.ts'
import { citizenOf, startLightProvider, type LightProviderOptions } from './world/light-provider.ts'
import { misbehaviours, type MisbehaviourName } from './world/misbehaviours.ts'
import { freePort } from './world/free-port.ts'

// Everything that a broken or wicked identity provider may answer, through the front door: each is a failure of its own name, the citizen is told and can go on, and
// what is not the provider's doing does not count against it.

t.setTimeout(180_000)

interface Way { provider?: Partial<LightProviderOptions>, registration?: Record<string, unknown>, /** it misbehaves already when the gateway starts */ cold?: MisbehaviourName }
type Outcome = Failure | 'goes on'
interface Row { row: { outage?: true, notice?: string } }

/** A gateway before one light provider, whose breaker opens at its first outage and closes soon after. */
async function desk (t: Test, { provider: options = {}, registration = {}, cold }: Way = {}) {
  const port = await freePort()
  const issuer = `http://passerelle.localhost:${port}`
  const directory = temporaryDirectory(t)
  for (const folder of ['clients', 'identity-providers', 'secrets']) mkdirSync(join(directory, folder))
  makeNextKeys(join(directory, 'keys'))
  const provider = await startLightProvider({ id: 'post', redirect_uris: [`${issuer}/callback/post`], jwks_uri: `${issuer}/provider-keys`, ...options })
  t.teardown(() => provider.stop())
  const back = `${provider.issuer}/town`                                  // where no browser goes here, as it goes to no page of the provider
  const write = (file: string, tree: object) => writeFileSync(join(directory, file), stringify(tree))
  writeFileSync(join(directory, 'secrets', 'post'), provider.client_secret)
  writeFileSync(join(directory, 'secrets', 'town'), 'the secret of the town hall')
  write('passerelle.yaml', { issuer, environment: 'development', keys: 'keys', listen: { host: '127.0.0.1', port }, operations: { host: '127.0.0.1', port: 0 }, load: { delay_ms: 5000 } })
  write('clients/town.yaml', { client_id: 'town', name: 'Town hall', redirect_uris: [back], scopes: ['openid', 'identite_pivot', 'address'], client_secrets: [{ file: 'secrets/town' }], require_pkce: false })
  write('identity-providers/post.yaml', {
    id: 'post',
    title: 'The Post',
    issuer: provider.issuer,
    client_id: provider.client_id,
    client_secret: { file: 'secrets/post' },
    acr_values: ['eidas1', 'eidas2'],
    timeout_ms: 1000,
    callback_timeout_ms: 3000,
    breaker: cold === undefined ? { volume: 1, reset_ms: 100, probe_ms: 0 } : { forced: 'closed' },
    ...registration
  })
  if (cold !== undefined) provider.misbehave(cold)
  const log: string[] = []
  const app = await buildApp(loadConfiguration(directory), { log: { write: (line: string) => { log.push(line) } } })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port })

  /** So many of a metric, by the labels that are named. */
  const metric = async (name: string, labels: Record<string, string>) => (await app.metricsRegistry.getSingleMetric(name)!.get()).values
    .filter(value => Object.entries(labels).every(([label, text]) => value.labels[label] === text)).reduce((sum, { value }) => sum + value, 0)
  const opened = () => metric('passerelle_provider_breaker_transitions_total', { idp: 'post', state: 'open' })

  /** A citizen's whole way, as far as it goes; the banner that it ends at, if it does. */
  async function logIn (acr = 'eidas2') {
    const browser = createBrowser({ stopAt: provider.issuer })
    try {
      await browser.get(`${issuer}/authorize?${new URLSearchParams({ client_id: 'town', redirect_uri: back, response_type: 'code', scope: 'openid identite_pivot address', state: 's', nonce: 'n', acr_values: acr })}`)
      const left = await browser.click('idp-post')
      const page = left.location === undefined ? left : await browser.get(provider.comeBack(new URL(left.location).searchParams).href)
      const notice = /id="notice"[^>]* data-code="(\w+)"/.exec(page.body)?.[1]
      const form = page.forms.find(({ buttons }) => buttons.some(({ value }) => value === 'continue'))
      if (form === undefined) return { notice, status: page.status, retry: page.links.includes('retry'), page }
      const end = await browser.submit(form, form.checkboxes, form.buttons.find(({ value }) => value === 'continue'))
      return { notice, status: page.status, retry: false, page, code: new URL(end.location ?? issuer).searchParams.get('code') }
    } finally { await browser.close() }
  }

  /** What a citizen comes to while the provider does this, and whether it counted against the provider. */
  async function meet (name: MisbehaviourName, acr?: string): Promise<{ outcome: Outcome, counted: boolean, end: Awaited<ReturnType<typeof logIn>> }> {
    const before = { lines: log.length, opened: await opened() }
    provider.misbehave(name)
    const end = await logIn(acr)
    provider.recover()
    const failed = log.slice(before.lines).map(line => JSON.parse(line)).find(({ msg }) => msg === 'failed')?.failure as Failure | undefined
    const counted = await opened() > before.opened
    if (counted) await until('the breaker closes', 5000, async () => await metric('passerelle_provider_breaker_state', { idp: 'post', state: 'closed' }) === 1)
    return { outcome: failed ?? 'goes on', counted, end }
  }

  return { provider, log, logIn, meet, metric, issuer }
}

/** The way on: to the service with a code; or back to the chooser, told by the failure's own notice; or a page with the failure's own code, where the login is not known. */
function check (t: Test, name: string, expected: Outcome, { outcome, end: { notice, code, status, page } }: Awaited<ReturnType<Awaited<ReturnType<typeof desk>>['meet']>>) {
  t.equal(outcome, expected, name)
  if (expected === 'goes on') t.ok(code, `${name}: the service gets its code`)
  else if (status < 400) t.equal(notice, (failures[expected] as Row['row']).notice, `${name}: the banner of the chooser`)
  else t.equal(page.text('error-code'), failures[expected].citizen, `${name}: the code on the page`)
}

/** What a citizen comes to while the provider does this, which it did not when the gateway started: what was known then serves on. */
const afterwards: Record<MisbehaviourName, Outcome> = {
  black_hole: 'provider_timed_out',
  hang_token: 'provider_timed_out',
  hang_userinfo: 'provider_timed_out',
  hang_jwks: 'goes on',
  slow: 'provider_timed_out',
  errors_500: 'provider_server_error',
  unavailable_503: 'provider_server_error',
  resets: 'provider_unavailable',
  cut_short: 'provider_unavailable',
  stalls: 'provider_timed_out',
  slow_drip: 'provider_timed_out',
  body_50mb: 'provider_answer_too_large',
  gzip_bomb: 'provider_answer_unreadable',
  long_headers: 'provider_unavailable',
  no_date: 'goes on',
  garbage_json: 'provider_answer_unreadable',
  html: 'provider_answer_unreadable',
  no_content_type: 'provider_answer_unreadable',
  redirect_loop: 'provider_redirected',
  token_redirect: 'provider_redirected',
  jwks_redirect: 'goes on',
  duplicate_members_token: 'provider_answer_ambiguous',
  duplicate_members_userinfo: 'provider_answer_ambiguous',
  duplicate_members_id_token: 'provider_answer_ambiguous',
  duplicate_members_metadata: 'goes on',
  duplicate_members_jwks: 'goes on',
  wrong_iss_metadata: 'goes on',
  no_jwks_uri: 'goes on',
  no_token_endpoint: 'goes on',
  metadata_list: 'goes on',
  metadata_loopback: 'goes on',
  metadata_link_local: 'goes on',
  metadata_http: 'goes on',
  metadata_file: 'goes on',
  jwks_500: 'goes on',
  jwks_empty: 'goes on',
  jwks_not_a_set: 'goes on',
  jwks_list: 'goes on',
  jwks_encryption_only: 'goes on',
  jwks_private: 'goes on',
  jwks_symmetric: 'goes on',
  jwks_huge: 'goes on',
  jwks_strange: 'goes on',
  wrong_iss_callback: 'callback_issuer_wrong',
  no_iss_callback: 'callback_issuer_wrong',
  wrong_state_callback: 'login_unknown',
  no_state_callback: 'login_unknown',
  two_states_callback: 'callback_malformed',
  no_code_callback: 'callback_malformed',
  two_codes_callback: 'callback_malformed',
  wrong_code_callback: 'provider_code_spent',
  long_code_callback: 'callback_malformed',
  code_and_error_callback: 'provider_busy',
  fragment_callback: 'login_unknown',
  server_error_at_authorize: 'provider_busy',
  access_denied: 'provider_refused',
  unknown_error_at_authorize: 'provider_refused',
  invalid_client: 'provider_credentials_refused',
  invalid_grant: 'provider_code_spent',
  token_429: 'provider_busy',
  no_id_token: 'provider_token_malformed',
  id_token_object: 'provider_token_malformed',
  no_access_token: 'provider_answer_invalid',
  no_token_type: 'provider_answer_invalid',
  wrong_token_type: 'provider_answer_invalid',
  expires_in_text: 'goes on',
  wrong_iss_token: 'provider_issuer_wrong',
  no_iss_token: 'provider_token_malformed',
  wrong_aud: 'provider_audience_wrong',
  no_aud: 'provider_token_malformed',
  wrong_azp: 'provider_authorized_party_wrong',
  many_aud_no_azp: 'provider_authorized_party_wrong',
  wrong_nonce: 'provider_nonce_wrong',
  no_nonce: 'provider_nonce_wrong',
  wrong_at_hash: 'goes on',
  acr_too_low: 'acr_too_low',
  acr_absent: 'acr_missing',
  acr_unknown: 'acr_too_low',
  acr_list: 'acr_missing',
  amr_text: 'goes on',
  no_auth_time: 'goes on',
  old_auth_time: 'goes on',
  future_auth_time: 'provider_token_premature',
  auth_time_text: 'provider_token_malformed',
  no_sub: 'provider_subject_malformed',
  sub_number: 'provider_subject_malformed',
  empty_sub: 'provider_subject_malformed',
  long_sub: 'provider_subject_malformed',
  expired: 'provider_token_expired',
  exp_text: 'provider_token_malformed',
  no_exp: 'provider_token_malformed',
  no_iat: 'provider_token_malformed',
  from_future: 'provider_token_premature',
  alg_none: 'provider_signature_missing',
  alg_none_spelled: 'provider_signature_missing',
  no_signature: 'provider_signature_missing',
  zero_signature: 'provider_signature_wrong',
  wrong_signature: 'provider_signature_wrong',
  padded_signature: 'provider_token_malformed',
  other_claims: 'provider_signature_wrong',
  other_alg: 'provider_algorithm_wrong',
  hs256_secret: 'provider_algorithm_wrong',
  hs256_public_key: 'provider_algorithm_wrong',
  hs256_empty: 'provider_algorithm_wrong',
  embedded_jwk: 'provider_key_embedded',
  jku: 'provider_key_embedded',
  x5u: 'provider_key_embedded',
  stranger_key: 'provider_signature_wrong',
  unknown_kid: 'provider_key_unknown',
  no_kid: 'goes on',
  unknown_crit: 'provider_extension_unknown',
  crit_b64: 'provider_extension_unknown',
  weak_key: 'provider_key_unknown',
  jwe_unasked: 'provider_encryption_wrong',
  jwe_missing: 'goes on',
  jwe_wrong_alg: 'provider_encryption_wrong',
  jwe_wrong_enc: 'provider_encryption_wrong',
  jwe_dir_secret: 'provider_encryption_wrong',
  jwe_unknown_key: 'provider_encryption_wrong',
  jwe_stranger: 'provider_encryption_wrong',
  jwe_zip: 'provider_encryption_wrong',
  jwe_compressed: 'provider_encryption_wrong',
  jwe_unsigned: 'provider_encryption_wrong',
  jwe_alg_none: 'provider_encryption_wrong',
  jwe_twice: 'provider_encryption_wrong',
  jwe_tampered: 'provider_encryption_wrong',
  jwe_short_tag: 'provider_encryption_wrong',
  jwe_pbes2: 'provider_encryption_wrong',
  jwe_off_curve: 'provider_encryption_wrong',
  userinfo_401: 'provider_call_refused',
  userinfo_403: 'provider_call_refused',
  userinfo_other_sub: 'provider_subject_differs',
  userinfo_no_sub: 'provider_subject_malformed',
  userinfo_sub_number: 'provider_subject_malformed',
  userinfo_list: 'provider_answer_unreadable',
  no_userinfo_json_type: 'provider_answer_unreadable',
  userinfo_jwt_unasked: 'provider_answer_unreadable',
  userinfo_alg_none: 'provider_answer_unreadable',
  userinfo_stranger_key: 'provider_answer_unreadable',
  missing_pivot_claims: 'identity_incomplete',
  malformed_birthdate: 'identity_incomplete',
  malformed_birthplace: 'identity_incomplete',
  claims_of_other_kinds: 'identity_incomplete',
  long_claims: 'identity_incomplete',
  control_characters: 'identity_incomplete',
  markup_claims: 'goes on',
  deep_claims: 'provider_answer_unreadable',
  prototype_claims: 'goes on'
}

/** The same where it did so from the start: nothing was known that could serve on. */
const fromTheStart: Partial<Record<MisbehaviourName, Outcome>> = {
  hang_jwks: 'provider_timed_out',
  errors_500: 'provider_server_error',
  black_hole: 'provider_timed_out',
  body_50mb: 'provider_answer_too_large',
  html: 'provider_answer_unreadable',
  redirect_loop: 'provider_redirected',
  jwks_redirect: 'provider_redirected',
  duplicate_members_metadata: 'provider_answer_ambiguous',
  duplicate_members_jwks: 'provider_answer_ambiguous',
  wrong_iss_metadata: 'provider_metadata_issuer_wrong',
  no_jwks_uri: 'provider_metadata_invalid',
  no_token_endpoint: 'provider_metadata_invalid',
  metadata_list: 'provider_answer_unreadable',
  metadata_link_local: 'provider_address_refused',
  metadata_file: 'provider_metadata_invalid',
  jwks_500: 'provider_server_error',
  jwks_empty: 'provider_keys_unavailable',
  jwks_not_a_set: 'provider_keys_unavailable',
  jwks_list: 'provider_answer_unreadable',
  jwks_encryption_only: 'provider_key_unknown',
  jwks_private: 'provider_keys_unavailable',
  jwks_symmetric: 'provider_key_unknown',
  jwks_huge: 'provider_answer_too_large',
  jwks_strange: 'goes on',
  no_kid: 'provider_key_unnamed',
  weak_key: 'provider_keys_unavailable'
}

/** Where its ID Tokens are encrypted for us. */
const encrypted: Partial<Record<MisbehaviourName, Outcome>> = {
  jwe_unasked: 'provider_encryption_wrong',
  jwe_missing: 'provider_encryption_wrong',
  jwe_wrong_alg: 'provider_encryption_wrong',
  jwe_wrong_enc: 'provider_encryption_wrong',
  jwe_dir_secret: 'provider_encryption_wrong',
  jwe_unknown_key: 'provider_decryption_failed',
  jwe_stranger: 'provider_decryption_failed',
  jwe_zip: 'provider_answer_compressed',
  jwe_compressed: 'provider_answer_compressed',
  jwe_unsigned: 'provider_token_malformed',
  jwe_alg_none: 'provider_signature_missing',
  jwe_twice: 'provider_token_malformed',
  jwe_tampered: 'provider_decryption_failed',
  jwe_short_tag: 'provider_decryption_failed',
  jwe_pbes2: 'provider_encryption_wrong',
  jwe_off_curve: 'provider_decryption_failed',
  alg_none: 'provider_signature_missing',
  wrong_nonce: 'provider_nonce_wrong',
  no_date: 'goes on'
}

/** Where its userinfo is signed. */
const signed: Partial<Record<MisbehaviourName, Outcome>> = {
  userinfo_alg_none: 'provider_signature_missing',
  userinfo_stranger_key: 'provider_signature_wrong',
  userinfo_other_sub: 'provider_subject_differs',
  userinfo_sub_number: 'provider_subject_malformed',
  duplicate_members_userinfo: 'provider_answer_ambiguous',
  no_userinfo_json_type: 'provider_answer_unreadable',
  no_date: 'goes on'
}

/** Each in turn at one desk: its outcome, and whether it opened the breaker, which only an outage does. */
async function meetAll (t: Test, table: Partial<Record<MisbehaviourName, Outcome>>, way?: Way) {
  const { logIn, meet, log } = await desk(t, way)
  await until('it has been asked for what it publishes', 5000, async () => (await logIn()).code !== undefined)
  for (const [name, expected] of Object.entries(table) as Array<[MisbehaviourName, Outcome]>) {
    const met = await meet(name)
    check(t, name, expected, met)
    t.equal(met.counted, expected !== 'goes on' && 'outage' in failures[expected], `${name}: whether it counts against the provider`)
  }
  t.ok((await logIn()).code, 'and afterwards all is well')
  t.same(findWords(log.join(''), wordsOf(citizenOf('somebody'))), [], 'nobody is named in the log')
}

t.test('a provider that answers wrongly is told by name, the citizen goes on, and only what is its own doing shuts it off', t => meetAll(t, afterwards))

t.test('the same of a provider whose ID Tokens are encrypted', t => meetAll(t, encrypted, {
  provider: { id_token_encrypted_response_alg: 'ECDH-ES', id_token_encrypted_response_enc: 'A256GCM' },
  registration: { id_token_encrypted_response_alg: 'ECDH-ES' }
}))

t.test('the same of a provider whose userinfo is signed', t => meetAll(t, signed, {
  provider: { userinfo_signed_response_alg: 'RS256' },
  registration: { userinfo_signed_response_alg: 'RS256' }
}))

t.test('a provider that was wrong from the start is told by name, too', async t => {
  for (const [name, expected] of Object.entries(fromTheStart) as Array<[MisbehaviourName, Outcome]>) {
    await t.test(name, async t => {
      const { meet, provider } = await desk(t, { cold: name })
      check(t, name, expected, await meet(name))
      t.equal(provider.counts.trap, 0, 'nobody went where it led')
    })
  }
})

t.test('every misbehaviour has been met', async t => {
  t.same(Object.keys(misbehaviours).sort(), Object.keys(afterwards).sort())
})
