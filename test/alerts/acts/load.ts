import { startCrowd } from '../../chaos/crowd.ts'
import { changed } from '../changed.ts'
import type { Act } from '../trial.ts'

/** Too many come. */
export const tooMany: Act = {
  name: 'load',
  about: 'two replicas that send away early, and a crowd',
  options: { sameConfiguration: true, load: { delay_ms: 20, requests_in_flight: 8 } },
  factor: 20,
  rate: 8,
  quietSeconds: 30,
  tailSeconds: 90,
  trials: [
    {
      fault: 'a crowd begins logins as fast as it is answered (F18)',
      fires: ['PasserelleShedding', 'PasserelleEventLoopBusy'],
      mayFire: ['PasserelleReplicaNotScraped', 'PasserelleNotScraped', 'PasserelleSlow', 'PasserelleRatherSlow', 'PasserelleOneReplicaLeft'],
      withinSeconds: 100,
      async strike ({ stage: { issuer, replicas, clients: [client] } }) {
        const asked = new URLSearchParams({ client_id: client!.client_id, redirect_uri: client!.redirect_uri, response_type: 'code', scope: 'openid', code_challenge_method: 'S256', code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM' })
        const crowd = startCrowd({ addresses: replicas.map(({ url }) => `${url}/authorize?${asked}&state=*&nonce=*`), connections: 128 })
        return () => crowd.end()
      }
    },
    {
      fault: 'every identity provider hangs when it is asked for tokens (F11), their breakers are forced to stay closed, and citizens who come back fill a replica that answers eight at a time',
      fires: ['PasserelleSheddingLoginsUnderWay'],
      mayFire: ['PasserelleProviderFailing', 'PasserelleShedding'],
      withinSeconds: 90,
      async strike ({ stage, stage: { providers } }) {
        const open = changed(stage, Object.fromEntries(providers.map(({ id }) => [`identity-providers/${id}.yaml`, { breaker: { forced: 'closed' } }])))
        await Promise.all(providers.map(provider => provider.misbehave('hang_token')))
        return async () => {
          open()
          await Promise.all(providers.map(provider => provider.recover()))
        }
      }
    }
  ]
}
