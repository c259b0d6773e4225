import { setTimeout as pause } from 'node:timers/promises'
import { untilWell } from '../../chaos/redis.ts'
import type { Act, Scenery } from '../trial.ts'

const portOf = ({ issuer }: { issuer: string }) => Number(new URL(issuer).port)
/** What a provider does, until it is as it should be. */
const misbehaving = (place: number, name: string, share?: number) => async ({ stage: { providers } }: Scenery) => {
  await providers[place]!.misbehave(name, share)
  return () => providers[place]!.recover()
}

/** Identity providers, and who comes back from them with what. */
export const providers: Act = {
  name: 'providers',
  about: 'two replicas, three identity providers',
  options: { sameConfiguration: true },
  factor: 60,
  rate: 12,
  quietSeconds: 15,
  tailSeconds: 70,
  trials: [
    {
      fault: 'one identity provider is a black hole (F10)',
      fires: ['PasserelleProviderDown'],
      mayFire: ['PasserelleBreakerOpenAtSomeReplicas', 'PasserelleProviderFailing'],
      withinSeconds: 40,
      goneWithin: 60,
      strike: misbehaving(0, 'black_hole')
    },
    {
      fault: 'one identity provider refuses three of ten codes that it has just given (F10)',
      fires: ['PasserelleProviderFailing'],
      withinSeconds: 60,
      strike: misbehaving(1, 'invalid_grant', 0.3)
    },
    {
      fault: 'one identity provider signs ID Tokens of another issuer (F10)',
      fires: ['PasserelleProviderTokensWrong'],
      mayFire: ['PasserelleProviderDown'],
      withinSeconds: 30,
      goneWithin: 60,
      strike: misbehaving(2, 'wrong_iss_token')
    },
    {
      fault: 'citizens come back with the `iss` of another identity provider',
      fires: ['PasserelleForeignCallbacks'],
      withinSeconds: 60,
      strike: misbehaving(0, 'wrong_iss_callback')
    },
    {
      fault: 'the clock of one identity provider is 40 s ahead (F21)',
      fires: ['PasserelleProviderClockOff'],
      withinSeconds: 40,
      async strike ({ stage: { providers } }) {
        providers[1]!.shiftClock(40)
        return () => providers[1]!.shiftClock(0)
      }
    },
    {
      fault: 'one replica has no way to one identity provider any more',
      fires: ['PasserelleBreakerOpenAtSomeReplicas'],
      withinSeconds: 60,
      goneWithin: 60,
      async strike ({ stage: { replicas: [replica], providers: [, , provider] } }) {
        replica!.cutOff([portOf(provider!)])
        await provider!.kill()                                          // which ends the connections that there are
        await provider!.start()
        return () => replica!.cutOff([])
      }
    }
  ]
}

/** What is known of providers, which grows old by the hour: their clocks and ours are put ahead. */
export const knowledge: Act = {
  name: 'knowledge',
  about: 'two replicas, three identity providers and one more',
  options: { sameConfiguration: true, spare: true },
  factor: 10,                                                           // what is not had is asked for each half minute of real time, and Redis for seconds
  rate: 6,
  quietSeconds: 30,
  tailSeconds: 150,
  trials: [
    {
      fault: 'one identity provider answers 500 when it is asked for its keys (F12), for 21 hours by the clocks of all; replicas are started anew meanwhile. Another one, just registered, has never answered',
      fires: ['PasserelleProviderKnowledgeStale', 'PasserelleProviderKnowledgeNearlyDead', 'PasserelleProviderKnowledgeMissing'],
      mayFire: ['PasserelleProviderDown'],
      withinSeconds: 330,
      async strike ({ stage: { configurations, providers, replicas, spare }, load }) {
        load.hold(true)                                                 // services have a clock as well, which is this machine's
        await pause(2000)
        const [sick] = providers
        await sick!.misbehave('jwks_500')
        await spare!.kill()
        for (const configuration of configurations) {
          configuration.change({
            'secrets/provider-ondelis': spare!.client_secret,
            'identity-providers/ondelis.yaml': configuration.document('identity-providers/vitalys.yaml', { id: 'ondelis', title: 'Ondelis', order: 9, issuer: spare!.issuer, client_secret: { file: 'secrets/provider-ondelis' } })
          })
        }
        const shift = (seconds: number) => { for (const one of [...providers, ...replicas]) one.shiftClock(seconds) }
        shift(21 * 3600)
        for (const replica of replicas) {
          await replica.stop('SIGTERM')
          await replica.start()
        }
        return () => Promise.all([sick!.recover(), spare!.start()])
      }
    },
    {
      fault: 'the whole Redis Cluster is gone (F7, killed), while nobody comes',
      fires: ['PasserelleRecallsUnread'],
      mayFire: ['PasserelleStoreUnavailable', 'PasserelleOptionalCallsFailing'],
      withinSeconds: 240,
      async strike ({ stage: { cluster } }) {
        const nodes = [...cluster.urls.keys()]
        await Promise.all(nodes.map(i => cluster.kill(i)))
        return async () => {
          await Promise.all(nodes.map(i => cluster.rejoin(i)))
          await untilWell(cluster)
        }
      }
    }
  ]
}
