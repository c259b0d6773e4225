import { MappingType } from '@grafana/grafana-foundation-sdk/dashboard'
import { coded, codes, colours, failuresThat } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { bars, curve, isThere, noneIsGood, stat, table } from '../panels.ts'

const isSecurity = ({ security }: { security?: true }) => security === true
const forged = 'provider_(metadata_issuer_wrong|address_refused|issuer_wrong|audience_wrong|authorized_party_wrong|signature_missing|algorithm_wrong|signature_wrong|key_embedded|key_unknown|subject_differs)'
const replayed = 'code_replayed|assertion_replayed|code_of_another_client|token_of_another_client'
const foreign = 'code_of_another_login|callback_issuer_wrong|provider_nonce_wrong'
const failed = (failures: string, window: string) => `sum(increase(passerelle_failures_total{failure=~"${failures}"}[${window}]))`
const within = (failures: string) => `sum by (failure) (increase(passerelle_failures_total{failure=~"${failures}"}[$__rate_interval]))`
const named = (failures: string) => coded(({ citizen }) => failures.split('|').some(name => codes[name]!.text === `${citizen} ${name}`))

export const support = dashboard({
  name: 'support',
  title: 'Support and security',
  description: 'What do citizens read on error pages, and does anybody try to get in as somebody else? One login is looked up by npm run explain with the id on the page (docs/events.md).',
  back: '24h',
  refresh: '1m',
  rows: [
    [5,
      stat({
        title: 'Are codes or tokens used where they should not be?',
        description: 'Codes and assertions that came twice, and codes and tokens of another service, in the last hour. No is good. A few are services that ask twice; any of another service is looked into at once.',
        runbook: 'codes-replayed',
        unit: 'none',
        width: 5,
        queries: [{ expr: failed(replayed, '1h') }],
        words: isThere('No', 'Yes', colours.orange),
        steps: noneIsGood,
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Are credentials of services guessed?',
        description: 'Times in a quarter of an hour that a service could not prove itself. Below 60, or five times the day before, it is a service that has a wrong secret; above, a ticket is opened.',
        runbook: 'credentials-guessed',
        unit: 'locale',
        decimals: 0,
        width: 5,
        steps: [[null, colours.blue], [10, colours.orange], [60, colours.vermilion]],
        queries: [{ expr: failed('client_authentication_failed', '15m') }],
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Does a provider send tokens that look forged?',
        description: 'Callbacks of the last quarter of an hour with a token by a wrong issuer, key or algorithm, or for somebody else. No is good: no browser can bring that about. More than four page.',
        runbook: 'provider-tokens-wrong',
        unit: 'none',
        width: 5,
        queries: [{ expr: failed(forged, '15m') }],
        words: isThere('No', 'Yes'),
        steps: noneIsGood,
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Are logins pushed on others?',
        description: 'Citizens of the last hour who came back with what is not of their own login. A few are tabs that were mixed up; above 20 a ticket is opened.',
        runbook: 'foreign-callbacks',
        unit: 'locale',
        decimals: 0,
        width: 5,
        steps: [[null, colours.blue], [5, colours.orange], [20, colours.vermilion]],
        queries: [{ expr: failed(foreign, '1h') }],
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Is every recall known everywhere?',
        description: 'By how many recalls (what operators ended at once) the replicas differ. Yes is good; ten seconds after a recall it should be.',
        runbook: 'recalls-unread',
        unit: 'none',
        width: 4,
        queries: [{ expr: 'max(passerelle_recalls_in_force) - min(passerelle_recalls_in_force)' }],
        words: isThere('Yes', 'No'),
        steps: noneIsGood,
        nothing: 'None is scraped'
      })
    ],
    [10,
      table({
        title: 'What do citizens and services read when it fails?',
        description: 'Every failure that was answered in the time shown, in a login or not, with the code that the page shows; the most frequent first. A: the service\'s request. B: the citizen\'s browser. C: the provider. D and E: the service\'s own calls. Y: the gateway. README says what each means and what to answer.',
        unit: 'locale',
        decimals: 0,
        width: 8,
        nothing: 'Nothing failed',
        sort: { by: 'Times' },
        columns: [
          { title: 'Code and failure', label: 'failure', words: [{ type: MappingType.ValueToText, options: codes }] },
          { title: 'Times', expr: 'sum by (failure) (increase(passerelle_failures_total[$__range])) > 0', width: 90 }
        ]
      }),
      curve({
        title: 'Which failures rise?',
        description: 'The ten most frequent failures with their codes, in each five minutes or step. What rises at a release or a reload (the lines) is its doing.',
        runbook: 'logins-failing',
        unit: 'short',
        width: 16,
        min: 0,
        every: '5m',
        looks: coded(() => true),
        queries: [{ expr: 'topk(10, sum by (failure) (increase(passerelle_failures_total[$__rate_interval])) > 0)', legend: '{{failure}}' }]
      })
    ],
    [8,
      bars({
        title: 'Which security events were there?',
        description: 'Failures of the time shown that are security events as well, with their codes. Each stands in the log with the service, the provider and the login. Nothing is good; rate limits and wrong credentials by the dozen are daily life.',
        unit: 'locale',
        decimals: 0,
        width: 8,
        looks: coded(isSecurity),
        queries: [{ expr: `sort_desc(sum by (failure) (increase(passerelle_failures_total{failure=~"${failuresThat(isSecurity)}"}[$__range])) > 0)`, legend: '{{failure}}' }],
        nothing: 'None'
      }),
      curve({
        title: 'When were codes and tokens used where they should not be?',
        description: 'In each five minutes or step: what came twice, or of another service; sealed codes that gave tokens again; and what was believed, since it could not be known whether it had been used. The last two belong to an outage of Redis.',
        runbook: 'codes-replayed',
        unit: 'short',
        width: 8,
        min: 0,
        every: '5m',
        looks: named(replayed),
        queries: [
          { expr: within(replayed), legend: '{{failure}}' },
          { expr: 'sum(increase(passerelle_degraded_redemptions_total{how="again"}[$__rate_interval]))', legend: 'sealed codes redeemed again' },
          { expr: 'sum(increase(passerelle_unchecked_replays_total[$__rate_interval]))', legend: 'replays not checked' }
        ]
      }),
      curve({
        title: 'When could services not prove themselves?',
        description: 'Wrong credentials in each five minutes or step, and those that were refused unheard since too many came. A plateau that begins at once is a service with a new secret; a mountain is somebody who guesses.',
        runbook: 'credentials-guessed',
        unit: 'short',
        width: 8,
        min: 0,
        every: '5m',
        looks: named('client_authentication_failed'),
        queries: [
          { expr: within('client_authentication_failed'), legend: '{{failure}}' },
          { expr: 'sum(increase(passerelle_rate_limited_total{what="credentials"}[$__rate_interval]))', legend: 'refused unheard' }
        ]
      })
    ],
    [8,
      curve({
        title: 'Which provider sends what looks forged?',
        description: 'Callbacks in each five minutes or step with a token that no honest provider makes, by provider and failure. No line is good. Else close the provider off (docs/runbooks/identity-provider-compromised.md) before you ask.',
        runbook: 'provider-tokens-wrong',
        unit: 'short',
        width: 6,
        min: 0,
        every: '5m',
        queries: [{ expr: `sum by (idp, failure) (increase(passerelle_provider_callbacks_total{failure=~"${forged}"}[$__rate_interval])) > 0`, legend: '{{idp}} {{failure}}' }],
        nothing: 'None'
      }),
      curve({
        title: 'Who comes back with what is not of this login?',
        description: 'In each five minutes or step: codes of another login, answers of another provider, tokens with another nonce. A few are tabs; many are somebody who pushes his or her own login on others, or a proxy that mixes answers up.',
        runbook: 'foreign-callbacks',
        unit: 'short',
        width: 6,
        min: 0,
        every: '5m',
        looks: named(foreign),
        queries: [{ expr: within(foreign), legend: '{{failure}}' }]
      }),
      curve({
        title: 'Who is limited, and is everybody counted?',
        description: 'In each five minutes or step: requests refused since one address sent too many, and those that could not be counted with the other replicas or at all. Limits by address hit ministries too: exempt their networks.',
        runbook: 'rate-limits',
        unit: 'short',
        width: 6,
        min: 0,
        every: '5m',
        queries: [
          { expr: 'sum by (what) (increase(passerelle_rate_limited_total[$__rate_interval]))', legend: 'refused: {{what}}' },
          { expr: 'sum(increase(passerelle_rate_limit_store_failures_total[$__rate_interval]))', legend: 'not counted together' },
          { expr: 'sum(increase(passerelle_rate_limit_uncounted_total[$__rate_interval]))', legend: 'not counted' }
        ]
      }),
      curve({
        title: 'What is recalled, and can it be read?',
        description: 'Recalls in force at each replica, and how often they could not be read. Good: all lines are one, and nothing is unread. What a replica cannot read it may believe.',
        runbook: 'recalls-unread',
        unit: 'short',
        width: 6,
        min: 0,
        every: '5m',
        queries: [
          { expr: 'max by (site, instance) (passerelle_recalls_in_force)', legend: 'in force at {{site}} {{instance}}' },
          { expr: 'sum(increase(passerelle_recalls_unread_total[$__rate_interval]))', legend: 'times unread' }
        ]
      })
    ]
  ]
})
