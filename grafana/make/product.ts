import { colours } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { bars, curve, noJudgement, stat, worseBelow } from '../panels.ts'

const ofProviders = 'idp=~"$provider"'
const ofServices = 'client_id=~"$client"'
const step = (event: string, window = '$__range') => `sum(increase(passerelle_login_steps_total{event="${event}"}[${window}]))`
const month = '30d'
/** What one replica of each site tells every few minutes: each site once, whichever replica was asked, and then all sites. */
const citizens = (metric: string, ...labels: string[]) => {
  const by = ['month', ...labels].join(', ')
  const [name, matchers = ''] = metric.split('{')
  return `sum by (${by}) (max by (${by}, site) (last_over_time(${name}${matchers === '' ? '' : `{${matchers}`}[15m])))`
}
const twice = 'A citizen who used two sites is counted once at each. Months are UTC: this one, which still grows, and the last.'

export const product = dashboard({
  name: 'product',
  title: 'Product',
  description: 'How much is the gateway used, by whom, and how many of those who begin arrive? Nothing here is about one citizen.',
  back: '30d',
  refresh: '15m',
  chooses: ['client', 'provider'],
  rows: [
    [5,
      stat({
        title: 'Do those who begin arrive?',
        description: 'Of the logins that services asked for in the time shown, the share that was returned to the service with a code. It is never 100 %: citizens look and leave, and a page that is loaded again asks again. A fall of some per cent within a week is worth a talk.',
        unit: 'percentunit',
        decimals: 1,
        width: 6,
        steps: worseBelow(0.3, 0.6),
        queries: [{ expr: `${step('returned')} / (${step('authorize')} > 0)` }],
        nothing: 'No login'
      }),
      stat({
        title: 'How many logins in the last 24 hours?',
        description: 'Logins that ended with tokens, the probe\'s included. Compare it with the same day of the week before, by the time range above.',
        unit: 'locale',
        decimals: 0,
        width: 4,
        queries: [{ expr: 'sum(increase(passerelle_logins_total{outcome="success"}[1d]))' }],
        nothing: 'None'
      }),
      stat({
        title: 'How many in the last 30 days?',
        description: 'Logins that ended with tokens, the probe\'s included. The whole of it only where Prometheus keeps 30 days.',
        unit: 'locale',
        decimals: 0,
        width: 4,
        queries: [{ expr: `sum(increase(passerelle_logins_total{outcome="success"}[${month}]))` }],
        nothing: 'None'
      }),
      bars({
        title: 'How many different citizens this month and last?',
        description: `Different citizens who logged in, an estimate that holds nobody's name. ${twice}`,
        unit: 'locale',
        decimals: 0,
        width: 5,
        queries: [{ expr: `sort_desc(${citizens('passerelle_citizens')})`, legend: '{{month}}' }],
        nothing: 'Not scraped'
      }),
      stat({
        title: 'How often does a session spare the provider?',
        description: 'The share of returned logins of the time shown for which a session of another service was enough (single sign-on). More is more comfortable; by default only the lowest level allows it.',
        unit: 'percentunit',
        decimals: 1,
        width: 5,
        queries: [{ expr: `${step('sso_used')} / (${step('returned')} > 0)` }],
        nothing: 'No login'
      })
    ],
    [9,
      curve({
        title: 'How many logins a day, by provider?',
        description: 'Each bar is the 24 hours before it: logins that were returned to their service, by the provider that vouched, sessions included. Weekends are lower; a provider that loses its share was perhaps down.',
        unit: 'short',
        width: 12,
        bars: true,
        stacked: true,
        min: 0,
        every: '1d',
        queries: [{ expr: `sum by (idp) (increase(passerelle_login_steps_total{event="returned", ${ofProviders}}[1d])) > 0`, legend: '{{idp}}' }]
      }),
      curve({
        title: 'How many a day, by level of assurance?',
        description: 'Each bar is the 24 hours before it: logins that ended with tokens, by the level that was reached. A rise of the higher levels asks more of citizens, and of providers.',
        unit: 'short',
        width: 12,
        bars: true,
        stacked: true,
        min: 0,
        every: '1d',
        looks: { eidas1: { colour: colours.sky }, eidas2: { colour: colours.blue }, eidas3: { colour: colours.purple } },
        queries: [{ expr: 'sum by (acr) (increase(passerelle_level_logins_total[1d]))', legend: '{{acr}}' }]
      })
    ],
    [9,
      bars({
        title: 'Which services are entered most in 30 days?',
        description: 'The fifteen services with most logins that ended with tokens. "other" is all services beyond the first thousand.',
        unit: 'locale',
        decimals: 0,
        width: 8,
        queries: [{ expr: `sort_desc(topk(15, sum by (client_id) (increase(passerelle_client_logins_total{${ofServices}, outcome="success"}[${month}])) > 0))`, legend: '{{client_id}}' }],
        nothing: 'None'
      }),
      bars({
        title: 'Which providers are chosen most in 30 days?',
        description: 'Citizens who were sent to each provider. Sessions that spared it are not in it. A citizen who chooses again is counted again.',
        unit: 'locale',
        decimals: 0,
        width: 8,
        queries: [{ expr: `sort_desc(sum by (idp) (increase(passerelle_login_steps_total{event="provider_chosen", ${ofProviders}}[${month}])) > 0)`, legend: '{{idp}}' }],
        nothing: 'None'
      }),
      bars({
        title: 'How many of a hundred get how far?',
        description: 'Of the logins that services asked for in the time shown, the share that reached each step. Who has a session needs no provider; some services ask for no agreement; a page that is read again counts again. The greatest drop is where the next improvement lies.',
        unit: 'percentunit',
        decimals: 0,
        width: 8,
        max: 1,
        queries: [['chooser_shown', 'shown the providers'], ['provider_chosen', 'sent to a provider'], ['called_back', 'back from the provider'], ['verified', 'identified'], ['consent_given', 'agreed'], ['returned', 'returned'], ['token', 'in the service']]
          .map(([event, legend]) => ({ expr: `${step(event!)} / (${step('authorize')} > 0)`, legend: legend! })),
        nothing: 'No login'
      })
    ],
    [8,
      bars({
        title: 'How many different citizens by provider?',
        description: `Different citizens by provider and month; one who used two providers is counted at each. ${twice}`,
        unit: 'locale',
        decimals: 0,
        width: 8,
        queries: [{ expr: `sort_desc(${citizens(`passerelle_citizens_by_provider{${ofProviders}}`, 'idp')})`, legend: '{{month}} {{idp}}' }],
        nothing: 'Not scraped'
      }),
      bars({
        title: 'How many different citizens by level?',
        description: `Different citizens by level of assurance and month; one who reached two levels is counted at each. ${twice}`,
        unit: 'locale',
        decimals: 0,
        width: 8,
        queries: [{ expr: `sort_desc(${citizens('passerelle_citizens_by_level', 'acr')})`, legend: '{{month}} {{acr}}' }],
        nothing: 'Not scraped'
      }),
      bars({
        title: 'How many different citizens by service?',
        description: `Different citizens by service and month, the fifteen greatest. ${twice}`,
        unit: 'locale',
        decimals: 0,
        width: 8,
        queries: [{ expr: `sort_desc(topk(15, ${citizens(`passerelle_citizens_by_client{${ofServices}}`, 'client_id')}))`, legend: '{{month}} {{client_id}}' }],
        nothing: 'Not scraped'
      })
    ],
    [7,
      curve({
        title: 'How many sessions are opened and used a day?',
        description: 'Each bar is the 24 hours before it: sessions that were opened, each of which lets its citizen into the next service, and logins for which one was enough.',
        unit: 'short',
        width: 24,
        bars: true,
        min: 0,
        every: '1d',
        steps: noJudgement,
        looks: { opened: { colour: colours.blue }, used: { colour: colours.orange } },
        queries: [
          { expr: 'sum(increase(passerelle_sessions_opened_total[1d]))', legend: 'opened' },
          { expr: 'sum(increase(passerelle_login_steps_total{event="sso_used"}[1d]))', legend: 'used' }
        ]
      })
    ]
  ]
})
