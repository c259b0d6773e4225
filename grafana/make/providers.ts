import { bad, colours, good, plain, warn } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { bars, curve, howMany, isThere, noneIsGood, stat, table, timeline, valuesAs, worseAbove, worseBelow } from '../panels.ts'
import { grown } from '../scope.ts'

const ofProviders = 'idp=~"$provider"'
/** Of those who came back, the share that was identified. */
function identified (window: string) {
  const cameBack = (outcome: string) => `sum by (idp) (increase(passerelle_provider_callbacks_total{${ofProviders}, outcome=~"${outcome}"}[${window}]))`
  return `${cameBack('success')} / (${cameBack('success|provider')} > 0)`
}
const state = (name: string, value: number) => `${value} * passerelle_provider_breaker_state{${ofProviders}, state="${name}"}`

export const providers = dashboard({
  name: 'providers',
  title: 'Identity providers',
  description: 'Do the identity providers do their part? Theirs is an objective of 99.5 % over 30 days (docs/objectives.md); citizens can choose another meanwhile.',
  back: '6h',
  refresh: '30s',
  chooses: ['provider'],
  rows: [
    [5,
      stat({
        title: 'Do all providers answer?',
        description: 'How many providers no replica, or not every one, sends citizens to, since their breaker is open. Yes is good. Otherwise the states below say which, and whether it is all replicas (the provider) or one (our way out).',
        runbook: 'provider-down',
        unit: 'none',
        width: 6,
        queries: [{ expr: `sum(max by (idp) (passerelle_provider_breaker_state{${ofProviders}, state=~"open|half_open"}))` }],
        words: howMany('Yes', 'One does not', 'Several do not'),
        steps: noneIsGood,
        nothing: 'None is known'
      }),
      stat({
        title: 'Which fails citizens most now?',
        description: 'Of those who came back in the last five minutes, the share that the worst provider failed. Half a per cent is allowed; above 20 % a ticket is opened. Tell the provider, with the failures below.',
        runbook: 'provider-down',
        unit: 'percentunit',
        decimals: 1,
        width: 6,
        named: true,
        queries: [{ expr: `topk(1, 1 - ${identified('5m')})`, legend: '{{idp}}' }],
        steps: worseAbove(0.005, 0.2),
        nothing: 'Nobody came back'
      }),
      stat({
        title: 'Are the keys of every provider fresh?',
        description: 'The oldest keys that any replica has of a provider. Good is below ten minutes; after a day they are worth nothing and nobody can log in there.',
        runbook: 'provider-knowledge-stale',
        unit: 's',
        decimals: 0,
        width: 6,
        named: true,
        queries: [{ expr: `topk(1, max by (idp) (passerelle_provider_jwks_age_seconds{${ofProviders}}))`, legend: '{{idp}}' }],
        steps: worseAbove(600, 72000),
        nothing: 'None were had'
      }),
      stat({
        title: 'Is anybody turned back at the door?',
        description: 'Citizens of the last five minutes who came back while as many as we let were on their way from that provider (its bulkhead). No is good: else it is too slow for the crowd, and citizens read that it does not answer.',
        runbook: 'provider-down',
        unit: 'none',
        width: 6,
        queries: [{ expr: `sum(increase(passerelle_provider_callbacks_rejected_total{${ofProviders}}[5m]))` }],
        words: isThere('No', 'Yes'),
        steps: noneIsGood,
        nothing: 'None is known'
      })
    ],
    [7,
      timeline({
        title: 'When was which provider cut off?',
        description: 'The worst state of a provider\'s breaker at any replica. Closed is good: citizens are sent there. Open: they are told that it does not answer, and choose another. Forced is what an operator wrote into its registration, as is maintenance.',
        runbook: 'breaker-at-some-replicas',
        unit: 'none',
        width: 14,
        queries: [{ expr: `max by (idp) (${[state('closed', 0), state('half_open', 1), state('open', 2), state('forced_closed', 3), state('forced_open', 4), `5 * passerelle_provider_maintenance{${ofProviders}}`].join(' or ')})`, legend: '{{idp}}' }],
        words: valuesAs({ 0: ['closed', good], 1: ['on trial', warn], 2: ['open', bad], 3: ['forced closed', colours.sky], 4: ['forced open', plain], 5: ['maintenance', colours.purple] }),
        steps: worseAbove(1, 2)
      }),
      bars({
        title: 'Does each keep its objective of 99.5 % over 30 days?',
        description: 'Of the citizens who came back in 30 days, the share that was identified. Below 99.5 % tell the provider at the next monthly talk. Those who were not sent there, since the breaker was open, are not in it, nor is the first failure of a kind at each replica. All sites.',
        runbook: 'provider-down',
        unit: 'percentunit',
        decimals: 2,
        width: 10,
        min: 0.9,
        max: 1,
        steps: worseBelow(0.98, 0.995),
        queries: [{ expr: `sort(1 - passerelle:provider_failed:ratio30d{${ofProviders}})`, legend: '{{idp}}' }],
        nothing: 'Nobody came back yet'
      })
    ],
    [8,
      curve({
        title: 'Are citizens who come back identified?',
        description: 'The share of those who came back that the provider did not fail. Good is a line at 100 %. No line: nobody came back from there.',
        runbook: 'provider-down',
        unit: 'percentunit',
        width: 8,
        min: 0,
        max: 1,
        limits: true,
        steps: [[null, bad], [0.995, good]],
        queries: [{ expr: identified('$__rate_interval'), legend: '{{idp}}' }]
      }),
      curve({
        title: 'How long do citizens wait for each?',
        description: 'How long 95 % of the citizens waited at most until we knew who came back, all calls together. Below one second is good; beyond eight they are told that it does not answer.',
        runbook: 'provider-down',
        unit: 's',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(1, 4),
        queries: [{ expr: `histogram_quantile(0.95, sum by (idp, le) (rate(passerelle_provider_callback_duration_seconds_bucket{${ofProviders}}[$__rate_interval])))`, legend: '{{idp}}' }]
      }),
      curve({
        title: 'Which call takes the time?',
        description: 'How long 95 % of the calls took at most, by provider and kind. Token and userinfo make citizens wait; discovery, jwks and status are asked beside them.',
        runbook: 'provider-down',
        unit: 's',
        width: 8,
        min: 0,
        steps: worseAbove(1, 4),
        queries: [{ expr: `histogram_quantile(0.95, sum by (idp, leg, le) (rate(passerelle_provider_call_duration_seconds_bucket{${ofProviders}}[$__rate_interval])))`, legend: '{{idp}} {{leg}}' }]
      })
    ],
    [8,
      table({
        title: 'Which calls fail, and how?',
        description: 'Calls of the time shown that had no good answer, by provider and kind: refused is a status from 400 to 499, anything else is the failure by its name. An empty table is good.',
        runbook: 'provider-down',
        unit: 'locale',
        decimals: 0,
        width: 12,
        nothing: 'None failed',
        sort: { by: 'Calls' },
        columns: [
          { title: 'Provider', label: 'idp' },
          { title: 'Call', label: 'leg' },
          { title: 'What came of it', label: 'outcome' },
          { title: 'Calls', expr: `sum by (idp, leg, outcome) ${grown(`passerelle_provider_calls_total{${ofProviders}, outcome!="answered"}`, '$__range')} > 0`, steps: noneIsGood }
        ]
      }),
      curve({
        title: 'Do breakers move, and do replicas tell each other?',
        description: 'How often a breaker went to a state, and replicas told each other that a provider is down (hints), in each minute or step. Silence is good. Many hints that are ignored: one replica cries wolf, look at its way out.',
        runbook: 'breaker-at-some-replicas',
        unit: 'short',
        width: 12,
        min: 0,
        every: '1m',
        queries: [
          { expr: `sum by (state) (increase(passerelle_provider_breaker_transitions_total{${ofProviders}}[$__rate_interval]))`, legend: 'went to {{state}}' },
          { expr: `sum by (way) (increase(passerelle_provider_hints_total{${ofProviders}}[$__rate_interval]))`, legend: 'hints {{way}}' }
        ]
      })
    ],
    [8,
      curve({
        title: 'How old is what we know of them?',
        description: 'The oldest metadata and keys at any replica. Below ten minutes is good. What grows cannot be renewed; the last good ones serve for a day.',
        runbook: 'provider-knowledge-stale',
        unit: 's',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(600, 72000),
        queries: ['metadata', 'jwks'].map(what => ({ expr: `max by (idp) (passerelle_provider_${what}_age_seconds{${ofProviders}})`, legend: `{{idp}} ${what === 'jwks' ? 'keys' : what}` }))
      }),
      curve({
        title: 'Do their clocks agree with ours?',
        description: 'By the last token that each replica saw; positive when the provider is ahead. Within 20 seconds is good; beyond 60 its tokens are refused. All off by the same: the clock is ours.',
        runbook: 'clocks',
        unit: 's',
        width: 8,
        limits: true,
        steps: [[null, bad], [-60, warn], [-20, good], [20, warn], [60, bad]],
        queries: [{ expr: `avg by (idp) (passerelle_provider_clock_skew_seconds{${ofProviders}})`, legend: '{{idp}}' }]
      }),
      curve({
        title: 'How many citizens are on their way back?',
        description: 'Citizens whom we are asking a provider about at this moment, all replicas together. It follows the traffic; one provider that climbs alone is slow, and at 64 for each replica the next are turned back.',
        runbook: 'provider-down',
        unit: 'short',
        width: 8,
        min: 0,
        queries: [{ expr: `sum by (idp) (passerelle_provider_callbacks_in_flight{${ofProviders}})`, legend: '{{idp}}' }]
      })
    ]
  ]
})
