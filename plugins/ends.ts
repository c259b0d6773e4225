import fp from 'fastify-plugin'
import { certificateEnds, secretEnds, type End } from '../src/config/ends.ts'

const daySeconds = 86_400
/** as the alerts have it (grafana/rules/alerts.yaml) */
const soonSeconds = 21 * daySeconds

/** Says in the log by name, day by day, what is to be replaced soon: of services the metric says only when the first of them is due. */
export default fp(async app => {
  function tell () {
    for (const end of certificateEnds(app.configuration)) remind(end, 'a certificate is over soon')
    for (const end of secretEnds(app.configuration)) remind(end, 'a secret is to be replaced')
  }

  function remind ({ of, id, at }: End<string>, what: string) {
    if (at - app.now() > soonSeconds) return
    app.log.warn({ of, ...(id === '' ? {} : { [of === 'client' ? 'client_id' : 'idp']: id }), at: new Date(at * 1000).toISOString() }, what)
  }

  const timer = setInterval(tell, daySeconds * 1000).unref()
  app.addHook('onReady', async () => tell())
  app.onReconfigured(tell)
  app.addHook('onClose', async () => clearInterval(timer))
}, { name: 'ends', dependencies: ['configuration'] })
