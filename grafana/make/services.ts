import { coded, colours, failuresThat, sides } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { bars, curve, howMany, isThere, noneIsGood, stat, table, worseAbove } from '../panels.ts'

const ofServices = 'client_id=~"$client"'
const theirs = ({ citizen }: { citizen: string }) => /^[ADE]/.test(citizen)
/** Of logins that ended well, or by the gateway's fault or the service's own: those that did not end well, where there were more than so many. */
const failing = (window: string, more = 4) => `sum by (client_id) (increase(passerelle_client_logins_total{${ofServices}, outcome=~"us|client"}[${window}])) / (sum by (client_id) (increase(passerelle_client_logins_total{${ofServices}, outcome=~"success|us|client"}[${window}])) > ${more})`
const ended = (outcome: string) => `sum by (client_id) (increase(passerelle_client_logins_total{${ofServices}, outcome="${outcome}"}[$__range]))`
const steps = (event: string) => `sum(rate(passerelle_login_steps_total{event="${event}"}[$__rate_interval]))`

export const services = dashboard({
  name: 'services',
  title: 'Services',
  description: 'Does every service get its citizens? Those that fail come first. Of a thousand services each has figures of its own, the others share "other".',
  back: '6h',
  refresh: '1m',
  chooses: ['client'],
  rows: [
    [5,
      stat({
        title: 'Does every service get its citizens?',
        description: 'How many services had more than one login in twenty fail in a quarter of an hour, by their own fault or ours, of five logins at least. Yes is good. Otherwise the table says which and on whose side.',
        runbook: 'logins-failing',
        unit: 'none',
        width: 6,
        queries: [{ expr: `count((${failing('15m')}) > 0.05) or 0 * count(passerelle_client_logins_total{${ofServices}})` }],
        words: howMany('Yes', 'One does not', 'Several do not'),
        steps: noneIsGood,
        nothing: 'None is known'
      }),
      stat({
        title: 'Which fares worst?',
        description: 'The service with the greatest share of logins that failed in the last hour by its own fault or ours. Below one per cent is good. A single one: write to it, with the failures below. Many: it is the gateway.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        decimals: 1,
        width: 6,
        named: true,
        queries: [{ expr: `topk(1, ${failing('1h')})`, legend: '{{client_id}}' }],
        steps: worseAbove(0.01, 0.05),
        nothing: 'Hardly any login'
      }),
      stat({
        title: 'How many services were entered in the last hour?',
        description: 'Services with one login at least that ended well. It follows the hours of the day; a service that is missed stands in the table with no login.',
        unit: 'none',
        decimals: 0,
        width: 6,
        queries: [{ expr: `count(sum by (client_id) (increase(passerelle_client_logins_total{${ofServices}, outcome="success"}[1h])) > 0)` }],
        nothing: 'None'
      }),
      stat({
        title: 'Do services hear of every logout?',
        description: 'Back-channel logouts of the last hour that did not arrive: refused by the service, failed, or dropped by us since too many waited. Yes is good; dropped is ours, the others are the service\'s.',
        runbook: 'back-channel-logouts-dropped',
        unit: 'none',
        width: 6,
        queries: [{ expr: 'sum(increase(passerelle_back_channel_logouts_total{outcome!="delivered"}[1h]))' }],
        words: isThere('Yes', 'Not all', colours.orange),
        steps: noneIsGood,
        nothing: 'None is known'
      })
    ],
    [10,
      table({
        title: 'Which services fail, worst first?',
        description: 'Logins of the time shown by service, and on whose side they ended. By the gateway: our fault, here or at all services. By the service: its requests are wrong, write to it. By citizens and providers: look only where one service differs from the others.',
        runbook: 'logins-failing',
        unit: 'locale',
        decimals: 0,
        width: 24,
        nothing: 'No service',
        sort: { by: 'Fail by the gateway or the service' },
        columns: [
          { title: 'Service', label: 'client_id' },
          { title: 'Fail by the gateway or the service', expr: failing('$__range', 0), unit: 'percentunit', decimals: 1, steps: worseAbove(0.01, 0.05) },
          { title: 'Ended well', expr: ended('success') },
          { title: 'The gateway', expr: ended('us'), steps: noneIsGood },
          { title: 'The service', expr: ended('client'), steps: [[null, colours.blue], [1, colours.orange]] },
          { title: 'The provider', expr: ended('provider') },
          { title: 'The citizen', expr: ended('citizen') }
        ]
      })
    ],
    [8,
      curve({
        title: 'How do logins at the chosen services end?',
        description: 'Logins of the services chosen above, a second, by side. Choose one to see it alone.',
        runbook: 'logins-failing',
        unit: 'suffix: logins/s',
        width: 8,
        stacked: true,
        min: 0,
        looks: sides,
        queries: [{ expr: `sum by (outcome) (rate(passerelle_client_logins_total{${ofServices}}[$__rate_interval]))`, legend: '{{outcome}}' }]
      }),
      curve({
        title: 'Which services have most logins?',
        description: 'The ten services with most logins that ended well, a second. One that falls to nothing while others go on has changed something on its side, or cannot reach us.',
        runbook: 'logins-failing',
        unit: 'suffix: logins/s',
        width: 8,
        min: 0,
        queries: [{ expr: `topk(10, sum by (client_id) (rate(passerelle_client_logins_total{${ofServices}, outcome="success"}[$__rate_interval])))`, legend: '{{client_id}}' }]
      }),
      curve({
        title: 'At which services do logins fail?',
        description: 'The share of logins that failed by the gateway\'s fault or the service\'s own, of the ten worst, over five minutes or a step. Good is nothing at all; all together at once: it is the gateway.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        width: 8,
        min: 0,
        every: '5m',
        limits: true,
        steps: worseAbove(0.01, 0.05),
        queries: [{ expr: `topk(10, ${failing('$__rate_interval', 0)})`, legend: '{{client_id}}' }]
      })
    ],
    [9,
      bars({
        title: 'What do services do wrong?',
        description: 'The failures of the time shown that are on the side of a service, in logins or in its own calls, with their codes; of all services together. Which service it was stands in the log: README says what each code means.',
        unit: 'locale',
        decimals: 0,
        width: 8,
        looks: coded(theirs),
        queries: [{ expr: `sort_desc(topk(8, sum by (failure) (increase(passerelle_failures_total{failure=~"${failuresThat(theirs)}"}[$__range])) > 0))`, legend: '{{failure}}' }],
        nothing: 'Nothing'
      }),
      curve({
        title: 'Do services take what they are given?',
        description: 'Of the codes that were given, how many were redeemed; of the tokens, for how many the identity was read. Near 100 % is good. Fewer codes redeemed: services fail after the login, or a network between us and them does. All services together.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        width: 8,
        min: 0,
        queries: [
          { expr: `${steps('token')} / (${steps('returned')} > 0)`, legend: 'codes redeemed' },
          { expr: `${steps('userinfo')} / (${steps('token')} > 0)`, legend: 'identities read' }
        ]
      }),
      curve({
        title: 'What else do services ask, and are they told of logouts?',
        description: 'Requests pushed ahead, tokens looked at or given up, logouts asked for, a second; and back-channel logouts by what came of them. Dropped: too many waited here. Failed or refused: the service.',
        runbook: 'back-channel-logouts-dropped',
        unit: 'suffix: /s',
        width: 8,
        min: 0,
        looks: { 'logouts dropped': { colour: colours.vermilion }, 'logouts failed': { colour: colours.orange }, 'logouts refused': { colour: colours.purple }, 'logouts delivered': { colour: colours.blue } },
        queries: [
          { expr: 'sum by (event) (rate(passerelle_login_steps_total{event=~"pushed|introspection|revocation|logout_asked"}[$__rate_interval]))', legend: '{{event}}' },
          { expr: 'sum by (outcome) (rate(passerelle_back_channel_logouts_total[$__rate_interval]))', legend: 'logouts {{outcome}}' }
        ]
      })
    ]
  ]
})
