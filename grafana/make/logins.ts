import { bad, codes, good, sides, warn } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { bars, curve, rangesAs, stat, table, valuesAs, worseAbove, worseBelow } from '../panels.ts'
import { MappingType } from '@grafana/grafana-foundation-sdk/dashboard'

const ofLogins = 'route=~".*/(authorize|choose|login/:idp|callback/:idp|consent|token|userinfo)"'
const quantile = (share: number) => `histogram_quantile(${share}, sum by (le) (rate(passerelle_request_duration_seconds_bucket{${ofLogins}}[$__rate_interval])))`
const step = (event: string) => `sum(increase(passerelle_login_steps_total{event="${event}"}[$__range]))`

const funnel = {
  authorize: 'asked for by a service',
  provider_chosen: 'sent to a provider',
  called_back: 'back from the provider',
  consent_given: 'agreed',
  returned: 'returned to the service',
  token: 'code redeemed',
  userinfo: 'identity read'
}

export const logins = dashboard({
  name: 'logins',
  title: 'Logins and SLO',
  description: 'Can citizens log in, and whose fault is it when they cannot? The objective is 99.99 % of logins over 30 days (docs/objectives.md).',
  back: '6h',
  refresh: '30s',
  rows: [
    [5,
      stat({
        title: 'Can citizens log in?',
        description: 'Of the logins of the last five minutes that ended with tokens or by our own fault, how many ended well. Yes: the budget of 30 days would last for two days at least. All sites, whatever site is chosen. When no login ends at all, look at the synthetic login beside.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        width: 5,
        queries: [{ expr: '1 - passerelle:logins_failed:ratio5m' }],
        words: rangesAs([0, 0.9, 'No', bad], [0.9, 1 - 14.4 * 0.0001, 'Not all', warn], [1 - 14.4 * 0.0001, 1, 'Yes', good]),
        steps: worseBelow(0.9, 1 - 14.4 * 0.0001),
        nothing: 'No login ended'
      }),
      stat({
        title: 'Did the synthetic login get in?',
        description: 'The last whole login from outside, made once a minute (docs/probe.md): it is the only one who sees that nobody can reach us. Yes is good. "No: the gateway" for two minutes pages.',
        runbook: 'probe-failing',
        unit: 'none',
        width: 5,
        queries: [{ expr: 'max by (site, instance) (passerelle_probe_exit_code and on (job, instance) time() - passerelle_probe_timestamp_seconds < 300)', legend: '{{site}} {{instance}}' }],
        words: [...valuesAs({ 0: ['Yes', good], 2: ['The probe is broken', warn], 3: ['No: the gateway', bad], 4: ['No: its provider', warn] }), ...rangesAs([1, null, 'The probe is broken', warn])],
        steps: worseAbove(1, 3),
        nothing: 'No probe for 5 minutes'
      }),
      stat({
        title: 'How many logins end well?',
        description: 'The objective is 99.99 % over 30 days; orange is below it, vermilion burns the budget so fast that somebody is paged. Left out is what citizens, services and providers did. All sites.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        decimals: 3,
        width: 6,
        named: true,
        queries: [['5m', '5 minutes'], ['1h', '1 hour'], ['30d', '30 days']].map(([window, legend]) => ({ expr: `1 - passerelle:logins_failed:ratio${window}`, legend: legend! })),
        steps: worseBelow(1 - 14.4 * 0.0001, 0.9999),
        nothing: 'No login ended'
      }),
      stat({
        title: 'How much of the error budget is left?',
        description: 'Of the one login in ten thousand that may fail in 30 days. At half of it planned work is put off, at nothing there are no releases but those that mend (docs/objectives.md). Below zero more was spent than there is.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        decimals: 0,
        width: 4,
        queries: [{ expr: 'passerelle:error_budget:remaining30d' }],
        words: rangesAs([null, 0, 'All is spent', bad]),
        steps: worseBelow(0, 0.5),
        nothing: 'No login yet'
      }),
      stat({
        title: 'Are we quick?',
        description: 'Of the requests of logins of the last five minutes, how many took us less than a quarter of a second: 99 % is the objective. What we waited for providers is left out, what we waited for Redis is not.',
        runbook: 'slow',
        unit: 'percentunit',
        width: 4,
        queries: [{ expr: '1 - passerelle:requests_slow:ratio5m' }],
        words: rangesAs([0, 1 - 14.4 * 0.01, 'No', bad], [1 - 14.4 * 0.01, 0.99, 'Not quite', warn], [0.99, 1, 'Yes', good]),
        steps: worseBelow(1 - 14.4 * 0.01, 0.99),
        nothing: 'Nobody came'
      })
    ],
    [8,
      curve({
        title: 'How many logins end, and on whose side?',
        description: 'Logins that ended, a second: with tokens, or by a failure of the citizen, the service, the provider or ourselves. Good is a blue area that breathes with the day; a sudden drop with no other colour means that citizens do not reach us.',
        runbook: 'logins-failing',
        unit: 'suffix: logins/s',
        width: 12,
        stacked: true,
        min: 0,
        looks: sides,
        queries: [{ expr: 'sum by (outcome) (rate(passerelle_logins_total[$__rate_interval]))', legend: '{{outcome}}' }]
      }),
      curve({
        title: 'Who is at fault where logins fail?',
        description: 'The share of all logins that failed, by side. Only the gateway\'s share spends our budget. A few per cent of citizens who give up is usual; a provider that rises: see Identity providers; a service that rises: see Services.',
        runbook: 'logins-failing',
        unit: 'percentunit',
        width: 12,
        stacked: true,
        min: 0,
        looks: sides,
        queries: [{ expr: 'sum by (outcome) (rate(passerelle_logins_total{outcome!="success"}[$__rate_interval])) / on () group_left () (sum(rate(passerelle_logins_total[$__rate_interval])) > 0)', legend: '{{outcome}}' }]
      })
    ],
    [9,
      bars({
        title: 'Where on their way do citizens get lost?',
        description: 'Steps that were done in the time shown. Each bar is a little shorter than the one above it, but: who has a session needs no provider, some services ask for no agreement, and a page that is read again counts again. A bar much shorter than usual says at which step to look: the counts of events are in docs/events.md.',
        runbook: 'logins-failing',
        unit: 'locale',
        decimals: 0,
        width: 8,
        queries: Object.entries(funnel).map(([event, legend]) => ({ expr: step(event), legend }))
      }),
      table({
        title: 'What ends logins that fail?',
        description: 'The ten most frequent failures that ended a login in the time shown, with the code that the citizen reads. Those of the gateway come first to be mended; README has what each means.',
        runbook: 'logins-failing',
        unit: 'locale',
        decimals: 0,
        width: 8,
        nothing: 'No login failed',
        sort: { by: 'Logins' },
        columns: [
          { title: 'Code and failure', label: 'failure', words: [{ type: MappingType.ValueToText, options: codes }] },
          { title: 'Side', label: 'outcome', words: [{ type: MappingType.ValueToText, options: Object.fromEntries(Object.entries(sides).map(([side, { text, colour }]) => [side, { text: text!, color: colour! }])) }], width: 110 },
          { title: 'Logins', expr: 'topk(10, sum by (outcome, failure) (increase(passerelle_logins_total{outcome!="success"}[$__range])) > 0)', width: 90 }
        ]
      }),
      curve({
        title: 'How fast is the error budget spent?',
        description: 'How many times faster than the objective allows, over four windows. Below 1 all is well. 14.4 in an hour, or 6 in six hours, pages; the short window says whether it still goes on. All sites.',
        runbook: 'logins-failing',
        unit: 'suffix:×',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(1, 14.4),
        queries: ['5m', '1h', '6h', '30d'].map(window => ({ expr: `passerelle:logins_failed:ratio${window} / 0.0001`, legend: window }))
      })
    ],
    [8,
      curve({
        title: 'Is our own share of the time below a quarter of a second?',
        description: 'How long the requests of logins take us, without what we wait for providers. Good is the line of 99 % below the dashed line. Above it while Redis waits too: see Replicas and Redis.',
        runbook: 'slow',
        unit: 's',
        width: 8,
        min: 0,
        limits: true,
        steps: [[null, good], [0.25, bad]],
        queries: [['half', 0.5], ['95 %', 0.95], ['99 %', 0.99]].map(([legend, share]) => ({ expr: quantile(Number(share)), legend: `${legend} took at most` }))
      }),
      curve({
        title: 'Which step of a login is slow?',
        description: 'The share of each route\'s requests in an hour that took us more than a quarter of a second. 1 % is allowed. One route alone: what it does alone is slow (token signs, callback asks nothing of ours but Redis). All sites.',
        runbook: 'slow',
        unit: 'percentunit',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(0.01, 0.144),
        queries: [{ expr: 'passerelle:route_requests_slow:ratio1h', legend: '{{route}}' }]
      }),
      curve({
        title: 'How long does the synthetic login take, step by step?',
        description: 'Seconds of each step of the last login from outside; with networks, proxies and the provider. A step that grows is where citizens wait. Nothing here: no probe writes its figures.',
        runbook: 'probe-failing',
        unit: 's',
        width: 8,
        stacked: true,
        min: 0,
        queries: [{ expr: 'max by (step) (passerelle_probe_step_seconds)', legend: '{{step}}' }],
        nothing: 'No probe'
      })
    ]
  ]
})
