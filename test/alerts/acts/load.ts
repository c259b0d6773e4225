import { startCrowd } from '../../chaos/crowd.ts'
import type { Act } from '../trial.ts'

/** Too many come. */
export const tooMany: Act = {
  name: 'load',
  about: 'two replicas that send away early, and a crowd',
  options: { sameConfiguration: true, load: { delay_ms: 20, requests_in_flight: 40 } },
  factor: 20,
  rate: 8,
  quietSeconds: 30,
  tailSeconds: 90,
  trials: [
    {
      fault: 'a crowd begins logins as fast as it is answered (F18)',
      fires: ['PasserelleShedding', 'PasserelleSheddingLoginsUnderWay', 'PasserelleEventLoopBusy'],
      mayFire: ['PasserelleReplicaNotScraped', 'PasserelleNotScraped', 'PasserelleSlow', 'PasserelleRatherSlow', 'PasserelleOneReplicaLeft'],
      withinSeconds: 100,
      async strike ({ stage: { issuer, replicas, clients: [client] } }) {
        const asked = new URLSearchParams({ client_id: client!.client_id, redirect_uri: client!.redirect_uri, response_type: 'code', scope: 'openid', code_challenge_method: 'S256', code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM' })
        const crowd = startCrowd({ addresses: replicas.map(({ url }) => `${url}/authorize?${asked}&state=*&nonce=*`), connections: 128 })
        return () => crowd.end()
      }
    }
  ]
}
