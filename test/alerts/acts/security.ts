import { randomInt } from 'node:crypto'
import { Agent } from 'undici'
import type { Act } from '../trial.ts'

/** Wrong credentials as fast as they are refused, each from another address, at one replica. */
function guess (url: string, client_id: string, connections: number) {
  const agent = new Agent({ connections, pipelining: 1 })
  const over = new AbortController()
  const address = () => `10.${randomInt(256)}.${randomInt(256)}.${randomInt(256)}`
  const guessing = Promise.all(Array.from({ length: connections }, async () => {
    while (!over.signal.aborted) {
      await agent.request({
        origin: url,
        path: '/token',
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', authorization: `Basic ${Buffer.from(`${client_id}:wrong`).toString('base64')}`, 'x-forwarded-for': address() },
        body: 'grant_type=authorization_code&code=none'
      }).then(({ body }) => body.dump(), () => {})
    }
  }))
  return async () => {
    over.abort()
    await guessing
    await agent.close()
  }
}

/** Who tries what he may not. */
export const security: Act = {
  name: 'security',
  about: 'two replicas, which limit what one address may',
  options: { sameConfiguration: true },
  factor: 60,
  rate: 6,
  settings: { rate_limits: { exempt_networks: [], address_per_second: 1000 } },
  quietSeconds: 15,
  tailSeconds: 80,
  trials: [
    {
      fault: 'a service redeems a code that another was given',
      fires: ['PasserelleStolenCodesTried'],
      withinSeconds: 15,
      async strike ({ load }) {
        await load.visit({ purpose: 'wrong_first' })
        return () => {}
      }
    },
    {
      fault: 'a service redeems its codes again and again',
      fires: ['PasserelleCodesReplayed'],
      withinSeconds: 40,
      async strike ({ load }) {
        return load.more(3, async () => {
          const { attempt: { n }, login } = await load.visit({ client: 'allow' })
          if (login !== undefined) await login.service.redeem({ n, code: login.code, verifier: login.verifier })
        })
      }
    },
    {
      fault: 'wrong secrets of one service from as many addresses as there is no place for: more than twenty thousand in a minute',
      fires: ['PasserelleCredentialsGuessed', 'PasserelleRateLimitsUncounted'],
      mayFire: ['PasserelleEventLoopBusy'],
      withinSeconds: 130,
      strike: async ({ stage: { replicas: [replica], clients: [client] } }) => guess(replica!.url, client!.client_id, 48)
    }
  ]
}
