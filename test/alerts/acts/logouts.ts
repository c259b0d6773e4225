import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import pLimit from 'p-limit'
import { isFinished, type Finished } from '../../chaos/login.ts'
import type { Act } from '../trial.ts'

/** more than may wait for one service at a replica, which is 2,000, and those that are under way */
const sessions = 2300
const atOnce = 24

/** Services that are told of a logout. */
export const logouts: Act = {
  name: 'logouts',
  about: 'two replicas, and a service that hangs when it is told of a logout',
  options: { sameConfiguration: true },
  factor: 60,
  rate: 2,
  quietSeconds: 15,
  tailSeconds: 60,
  trials: [
    {
      fault: `a service hangs when it is told of a logout, and ${sessions} sessions that entered it are ended at one replica in half a minute`,
      fires: ['PasserelleBackChannelLogoutsDropped'],
      mayFire: ['PasserelleEventLoopBusy', 'PasserelleSlow', 'PasserelleRatherSlow'],
      withinSeconds: 20,
      async strike ({ stage: { configurations, replicas: [replica] }, load, say }) {
        const hanging = createServer(() => {})
        await new Promise<void>(resolve => hanging.listen(0, '127.0.0.1', resolve))
        const backchannel_logout_uri = `http://allow.localhost:${(hanging.address() as AddressInfo).port}/logout`
        for (const configuration of configurations) configuration.change({ 'clients/allow.yaml': configuration.document('clients/allow.yaml', { backchannel_logout_uri }) })

        const inTurn = pLimit(atOnce)
        const entered: Finished[] = []
        await Promise.all(Array.from({ length: sessions }, () => inTurn(async () => {
          const { login } = await load.visit({ client: 'allow' })
          if (isFinished(login)) entered.push(login)
        })))
        say(`    ${entered.length} sessions`)
        await Promise.all(entered.map(({ service, id_token, jar, attempt: { n } }) => inTurn(() => {
          const url = new URL(service.logoutUrl(id_token))
          return load.scene.call('logout', `${replica!.url}${url.pathname}${url.search}`, { n, headers: { accept: 'text/html', cookie: jar.header(url, 'GET', true) } })
        })))
        return () => { hanging.closeAllConnections(); hanging.close() }
      }
    }
  ]
}
