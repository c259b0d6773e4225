import { bad, colours, good, warn } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { curve, howMany, isThere, noneIsGood, rangesAs, stat, table, valuesAs, worseAbove } from '../panels.ts'

const each = (expr: string) => `sum by (site, instance) (${expr})`
const replica = '{{site}} {{instance}}'
const lately = (expr: string) => `sum(increase(${expr}[5m]))`
const counted = (expr: string) => `sum(increase(${expr}[$__rate_interval]))`
const quantile = (share: number) => `histogram_quantile(${share}, sum by (class, le) (rate(passerelle_store_call_duration_seconds_bucket[$__rate_interval])))`

export const replicas = dashboard({
  name: 'replicas',
  title: 'Replicas and Redis',
  description: 'Are the replicas well, and does Redis answer them? What one replica does alone is its own; what all do at once is Redis, a release, or the crowd.',
  back: '1h',
  refresh: '15s',
  rows: [
    [5,
      stat({
        title: 'Are all replicas there?',
        description: 'How many replicas Prometheus knows of and does not reach. Yes is good; one that was just replaced may be missing for a minute.',
        runbook: 'not-scraped',
        unit: 'none',
        width: 6,
        queries: [{ expr: 'sum(up == bool 0)' }],
        words: howMany('Yes', 'One is not', 'Several are not'),
        steps: noneIsGood,
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Does Redis answer?',
        description: 'Of the calls of the last five minutes that somebody waits for, the share that had no answer in time. Yes is good; above 1 % somebody is paged. A primary that dies is ridden through, and shows below as waiting.',
        runbook: 'store-unavailable',
        unit: 'percentunit',
        width: 6,
        queries: [{ expr: 'sum(increase(passerelle_store_calls_total{class="needed", outcome="unavailable"}[5m])) / (sum(increase(passerelle_store_calls_total{class="needed"}[5m])) > 0)' }],
        words: rangesAs([null, 0, 'Yes', good], [0, 0.01, 'Mostly', warn], [0.01, 1, 'No', bad]),
        steps: worseAbove(0.000001, 0.01),
        nothing: 'Nothing was asked'
      }),
      stat({
        title: 'Do logins go on without Redis?',
        description: 'Codes of the last five minutes that hold their record themselves, since Redis was away (degraded mode). "Not needed" is good. Else logins end well, and docs/security.md says what is weaker meanwhile; more than nine page.',
        runbook: 'degraded-mode',
        unit: 'none',
        width: 6,
        queries: [{ expr: lately('passerelle_degraded_codes_total') }],
        words: isThere('Not needed', 'Yes, weaker', colours.orange),
        steps: [[null, good], [1, warn]],
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Is anybody sent away?',
        description: 'Requests of the last five minutes that were answered "in some seconds", since there was too much to do. No is good. New logins are sent away first: add replicas, or find out who asks so much.',
        runbook: 'shedding',
        unit: 'none',
        width: 6,
        queries: [{ expr: lately('passerelle_requests_shed_total') }],
        words: isThere('No', 'Yes'),
        steps: noneIsGood,
        nothing: 'None is scraped'
      })
    ],
    [8,
      table({
        title: 'How is each replica?',
        description: 'One line each, as it is now. Good: all look alike. The loop is busy above 85 % and late above 40 ms; pressure above 0 sends new logins away, above 1 those under way too; above 1 GB of memory restart it and read the runbook. One that drains is being replaced.',
        runbook: 'busy',
        unit: 'locale',
        decimals: 0,
        width: 24,
        nothing: 'None is scraped',
        sort: { by: 'Loop busy' },
        columns: [
          { title: 'Site', label: 'site', width: 60 },
          { title: 'Replica', label: 'instance' },
          { title: 'Draining', expr: each('passerelle_draining'), words: valuesAs({ 0: ['no', good], 1: ['yes', warn] }) },
          { title: 'Requests/s', expr: each('rate(passerelle_request_duration_seconds_count[$__rate_interval])'), decimals: 1 },
          { title: 'Loop busy', expr: each('passerelle_event_loop_utilization_ratio'), unit: 'percentunit', steps: worseAbove(0.7, 0.85) },
          { title: 'Loop late', expr: each('passerelle_load_delay_seconds'), unit: 's', decimals: 1, steps: worseAbove(0.02, 0.04) },
          { title: 'CPU', expr: each('rate(process_cpu_seconds_total[$__rate_interval])'), unit: 'percentunit', steps: worseAbove(0.8, 1) },
          { title: 'GC', expr: each('rate(nodejs_gc_duration_seconds_sum[$__rate_interval])'), unit: 'percentunit', decimals: 1, steps: worseAbove(0.05, 0.15) },
          { title: 'Memory', expr: each('process_resident_memory_bytes'), unit: 'decbytes', steps: worseAbove(5e8, 1e9) },
          { title: 'Pressure', expr: each('passerelle_load_pressure'), decimals: 1, steps: [[null, good], [0.01, warn], [1, bad]] },
          { title: 'Logins let in/s', expr: each('passerelle_login_budget') },
          { title: 'Connections', expr: each('passerelle_connections_open') },
          { title: 'Log lines lost', expr: each('increase(passerelle_log_lines_lost_total[$__range])'), steps: noneIsGood },
          { title: 'Up for', expr: 'min by (site, instance) (time() - process_start_time_seconds)', unit: 's' }
        ]
      })
    ],
    [8,
      curve({
        title: 'Does every replica have its share of requests?',
        description: 'Requests that each answered, a second. Good is lines that lie upon each other. One that has none is not in the balancer; one that has more than the others will be late first.',
        runbook: 'busy',
        unit: 'reqps',
        width: 8,
        min: 0,
        queries: [{ expr: each('rate(passerelle_request_duration_seconds_count[$__rate_interval])'), legend: replica }]
      }),
      curve({
        title: 'How busy are the event loops?',
        description: 'The share of the time in which each had something to do. Below 70 % is good; above 85 % for ten minutes a ticket is opened; at 100 % logins are sent away. Add replicas before.',
        runbook: 'busy',
        unit: 'percentunit',
        width: 8,
        min: 0,
        max: 1,
        limits: true,
        steps: worseAbove(0.7, 0.85),
        queries: [{ expr: 'max by (site, instance) (passerelle_event_loop_utilization_ratio)', legend: replica }]
      }),
      curve({
        title: 'How late are they?',
        description: 'How late the loop of each runs its timers, averaged over a second. Unloaded it is below 10 ms; above 40 ms (load.delay_ms) requests are sent away. Late and not busy: the processor is taken by somebody else, or throttled.',
        runbook: 'slow',
        unit: 's',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(0.02, 0.04),
        queries: [{ expr: 'max by (site, instance) (passerelle_load_delay_seconds)', legend: replica }]
      })
    ],
    [8,
      curve({
        title: 'How much memory does each take?',
        description: 'Resident memory. It settles below half a gigabyte under the worst load that was measured; a line that only climbs is a leak.',
        runbook: 'memory',
        unit: 'decbytes',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(5e8, 1e9),
        queries: [{ expr: 'max by (site, instance) (process_resident_memory_bytes)', legend: replica }]
      }),
      curve({
        title: 'What is under way, and what waits?',
        description: 'Requests at all replicas at this moment: being answered, waiting for Redis, waiting in line at the door, and all not yet answered. Those that wait for Redis belong to a failover; those in line to a crowd.',
        runbook: 'shedding',
        unit: 'short',
        width: 8,
        min: 0,
        looks: { 'wait for Redis': { colour: colours.vermilion }, 'wait in line': { colour: colours.orange }, 'being answered': { colour: colours.blue }, 'not yet answered': { colour: colours.sky } },
        queries: [
          { expr: 'sum(passerelle_requests_under_way)', legend: 'not yet answered' },
          { expr: 'sum(passerelle_requests_in_flight)', legend: 'being answered' },
          { expr: 'sum(passerelle_requests_parked)', legend: 'wait for Redis' },
          { expr: 'sum(passerelle_requests_waiting)', legend: 'wait in line' }
        ]
      }),
      curve({
        title: 'Who is sent away, and why?',
        description: 'Requests a second that were sent away since there was too much to do (by how far their login had come), since one address asked too much, or whose connection was closed. Nothing is good. Logins under way or ending are sent away only when nothing else helps.',
        runbook: 'shedding',
        unit: 'suffix: /s',
        width: 8,
        stacked: true,
        min: 0,
        queries: [
          { expr: 'sum by (class) (rate(passerelle_requests_shed_total[$__rate_interval]))', legend: 'too much to do: {{class}}' },
          { expr: 'sum by (what) (rate(passerelle_rate_limited_total[$__rate_interval]))', legend: 'too many of one: {{what}}' },
          { expr: 'sum(rate(passerelle_connections_refused_total[$__rate_interval]))', legend: 'connection closed' }
        ]
      })
    ],
    [8,
      curve({
        title: 'What is asked of Redis, and does it answer?',
        description: 'Calls a second by the site of the Redis: needed ones somebody waits for, optional ones replicas can do without. Good is no line of unavailable ones. Optional ones alone: no login fails by it.',
        runbook: 'store-unavailable',
        unit: 'suffix: calls/s',
        width: 8,
        min: 0,
        queries: [{ expr: 'sum by (store, class, outcome) (rate(passerelle_store_calls_total[$__rate_interval]))', legend: '{{store}} {{class}} {{outcome}}' }]
      }),
      curve({
        title: 'How long do calls of Redis take?',
        description: 'What half and 99 % of the calls took at most, with all that they waited. Milliseconds are good. Seconds, for some seconds: a failover; for minutes: Redis or the network is ill.',
        runbook: 'ride-through',
        unit: 's',
        width: 8,
        min: 0,
        limits: true,
        steps: [[null, good], [0.25, bad]],
        queries: [['half of', 0.5], ['99 % of', 0.99]].map(([legend, share]) => ({ expr: quantile(Number(share)), legend: `${legend} {{class}} ones` }))
      }),
      curve({
        title: 'How much waiting did a failover cost?',
        description: 'Seconds in each second that needed calls waited longer than a quarter of a second and had their answer: what was ridden through without failing anybody. A peak of five seconds\' width is a failover; a plateau opens a ticket.',
        runbook: 'ride-through',
        unit: 'suffix: s/s',
        width: 8,
        min: 0,
        limits: true,
        steps: worseAbove(0.05, 1),
        queries: [{ expr: 'sum by (store) (rate(passerelle_store_ride_through_seconds_total[$__rate_interval]))', legend: 'Redis of {{store}}' }]
      })
    ],
    [8,
      curve({
        title: 'What was done without Redis, or lost?',
        description: 'What happened in each minute or step because something did not answer. Of Redis: codes that hold their record and how they were redeemed, names that were believed unseen, logins that their session did not note, addresses that were not counted with the other replicas or at all. And lines of the log and spans of traces that nobody took (docs/runbooks/log-lines-lost.md). Nothing is good; "redeemed again" is a service that asked twice, or a thief.',
        runbook: 'degraded-mode',
        unit: 'short',
        width: 24,
        min: 0,
        every: '1m',
        queries: [
          { expr: counted('passerelle_degraded_codes_total'), legend: 'sealed codes given' },
          { expr: 'sum by (how) (increase(passerelle_degraded_redemptions_total[$__rate_interval]))', legend: 'redeemed: {{how}}' },
          { expr: counted('passerelle_unchecked_replays_total'), legend: 'replays not checked' },
          { expr: counted('passerelle_session_notes_lost_total'), legend: 'session notes lost' },
          { expr: counted('passerelle_rate_limit_store_failures_total'), legend: 'addresses not counted together' },
          { expr: counted('passerelle_rate_limit_uncounted_total'), legend: 'addresses not counted' },
          { expr: counted('passerelle_log_lines_lost_total'), legend: 'log lines lost' },
          { expr: counted('passerelle_trace_spans_total{outcome="lost"}'), legend: 'spans lost' },
          { expr: counted('passerelle_citizens_uncounted_total'), legend: 'citizens not counted' }
        ]
      })
    ]
  ]
})
