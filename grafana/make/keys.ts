import { bad, colours, good, warn } from '../colours.ts'
import { dashboard } from '../dashboard.ts'
import { curve, howMany, noneIsGood, rangesAs, stat, table, valuesAs, worseBelow } from '../panels.ts'

const day = 86400
/** The same keys at all replicas: the one that is worst off. */
const ofKeys = (name: string, how: 'min' | 'max' = 'min') => `${how} by (kind, alg) (passerelle_key_${name}_seconds)`
const each = (expr: string) => `max by (site, instance) (${expr})`

export const keys = dashboard({
  name: 'keys',
  title: 'Keys and configuration',
  description: 'Are keys, certificates and secrets fresh, and do all replicas go by the same configuration and release?',
  back: '24h',
  refresh: '1m',
  rows: [
    [5,
      stat({
        title: 'Are our keys fresh?',
        description: 'How long until the first key has been used for as long as it should be. Below zero it is overdue: the job that makes the next did not run, or its files do not arrive. It works on; whoever gets hold of it can use it for longer.',
        runbook: 'key-rotation',
        unit: 's',
        width: 4,
        queries: [{ expr: 'min(passerelle_key_until_seconds)' }],
        words: rangesAs([null, -day, 'Overdue', bad], [-day, 0, 'Just over', warn], [0, null, 'Yes', good]),
        steps: worseBelow(-day, 0),
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Does the next key wait where it should?',
        description: 'Kinds of key that have less than twenty minutes left and no successor. Yes is good: replicas need the next key before it is used.',
        runbook: 'key-rotation',
        unit: 'none',
        width: 4,
        queries: [{ expr: `count(${ofKeys('until')} < 1200 unless on (kind, alg) ${ofKeys('next')}) or 0 * count(passerelle_key_until_seconds)` }],
        words: howMany('Yes', 'One is missing', 'Several are missing'),
        steps: noneIsGood,
        nothing: 'None is scraped'
      }),
      stat({
        title: 'When is the first certificate over?',
        description: 'Of our own port, for providers, and of authorities that we trust alone. Three weeks before a ticket is opened, three days before somebody is paged.',
        runbook: 'certificate-expires',
        unit: 's',
        decimals: 0,
        width: 4,
        queries: [{ expr: 'min(passerelle_certificate_until_seconds)' }],
        steps: worseBelow(3 * day, 21 * day),
        nothing: 'No certificate'
      }),
      stat({
        title: 'When is the first secret to be replaced?',
        description: 'Of those whose registration says when. Three weeks before a ticket is opened, three days before somebody is paged.',
        runbook: 'secret-expires',
        unit: 's',
        decimals: 0,
        width: 4,
        queries: [{ expr: 'min(passerelle_secret_until_seconds)' }],
        steps: worseBelow(3 * day, 21 * day),
        nothing: 'None has a date'
      }),
      stat({
        title: 'Does each site go by one configuration?',
        description: 'The most configurations that are in force at one site. One is good; two for more than ten minutes: a replica does not get the files, or refuses them. The table says which.',
        runbook: 'replicas-differ',
        unit: 'none',
        width: 4,
        queries: [{ expr: 'max(count by (site) (count by (site, hash) (passerelle_configuration_info)))' }],
        words: rangesAs([0, 1, 'Yes', good], [1.5, null, 'No', bad]),
        steps: [[null, good], [2, bad]],
        nothing: 'None is scraped'
      }),
      stat({
        title: 'Was the last change taken?',
        description: 'Whether every replica took what it read last. No: the files are refused, the last good ones serve on, and the log line "configuration refused" says why.',
        runbook: 'configuration-refused',
        unit: 'none',
        width: 4,
        queries: [{ expr: 'min(passerelle_configuration_last_reload_successful)' }],
        words: valuesAs({ 0: ['No, refused', bad], 1: ['Yes', good] }),
        steps: worseBelow(1, 1),
        nothing: 'None is scraped'
      })
    ],
    [8,
      table({
        title: 'How old is each key, and when does it change?',
        description: 'By what the key is for and its algorithm, at the replica that is worst off. A next key waits twenty minutes at least before the one in force is over; else make one with npm run keys.',
        runbook: 'key-rotation',
        unit: 's',
        decimals: 1,
        width: 12,
        nothing: 'None is scraped',
        sort: { by: 'Should change in', ascending: true },
        columns: [
          { title: 'For', label: 'kind' },
          { title: 'Algorithm', label: 'alg' },
          { title: 'In use for', expr: ofKeys('age', 'max') },
          { title: 'Should change in', expr: ofKeys('until'), steps: worseBelow(-day, 0) },
          { title: 'Next is used in', expr: ofKeys('next') }
        ]
      }),
      table({
        title: 'Which certificates and secrets are over, and when?',
        description: 'Certificates: listen is our own port, provider is ours there, provider_authority the one that we trust for it. Secrets: provider is ours there; client is, of all services, the first. The first to be over comes first.',
        runbook: 'certificate-expires',
        unit: 's',
        decimals: 0,
        width: 12,
        nothing: 'None has a date',
        sort: { by: 'Certificate is over in', ascending: true },
        columns: [
          { title: 'Of', label: 'of' },
          { title: 'Provider', label: 'idp' },
          { title: 'Certificate is over in', expr: 'min by (of, idp) (passerelle_certificate_until_seconds)', steps: worseBelow(3 * day, 21 * day) },
          { title: 'Secret is to be replaced in', expr: 'min by (of, idp) (passerelle_secret_until_seconds)', steps: worseBelow(3 * day, 21 * day) }
        ]
      })
    ],
    [8,
      table({
        title: 'What does each replica run?',
        description: 'The configuration in force by its hash, the release and its Node.js. Good is one hash for each site and one release but while it is rolled out. npm run check-config prints the hash of a directory.',
        runbook: 'replicas-differ',
        unit: 'none',
        width: 12,
        nothing: 'None is scraped',
        columns: [
          { title: 'Site', label: 'site', width: 60 },
          { title: 'Replica', label: 'instance' },
          { title: 'Configuration', label: 'hash' },
          { title: 'Release', label: 'version', width: 80 },
          { title: 'Node.js', label: 'node', width: 90 },
          { title: 'Runs', expr: 'max by (site, instance, hash, version, node) (passerelle_configuration_info * on (site, instance) group_left (version, node) passerelle_build_info)', words: valuesAs({ 1: ['yes', good] }), width: 60 }
        ]
      }),
      table({
        title: 'Since when, and did it take the last change?',
        description: 'How long ago each replica took its configuration, whether it took what it read last, and how long it has run. One that took it much earlier than the others does not get the files.',
        runbook: 'configuration-refused',
        unit: 's',
        decimals: 1,
        width: 12,
        nothing: 'None is scraped',
        sort: { by: 'Configuration taken before' },
        columns: [
          { title: 'Site', label: 'site', width: 60 },
          { title: 'Replica', label: 'instance' },
          { title: 'Configuration taken before', expr: each('time() - passerelle_configuration_loaded_timestamp_seconds') },
          { title: 'Last change', expr: each('passerelle_configuration_last_reload_successful'), unit: 'none', words: valuesAs({ 0: ['refused', bad], 1: ['taken', good] }) },
          { title: 'Up for', expr: each('time() - process_start_time_seconds') }
        ]
      })
    ],
    [8,
      curve({
        title: 'When was the configuration read, and what came of it?',
        description: 'Readings of the files in each five minutes or step, at all replicas, but for those that found nothing new. Invalid: refused whole, the last good one serves on. Start needed: what was changed wants a new process.',
        runbook: 'configuration-refused',
        unit: 'short',
        width: 8,
        bars: true,
        stacked: true,
        min: 0,
        every: '5m',
        looks: { taken: { colour: colours.blue }, invalid: { colour: colours.vermilion }, start_needed: { colour: colours.orange, text: 'start needed' } },
        queries: [{ expr: 'sum by (outcome) (increase(passerelle_configuration_reloads_total{outcome!="unchanged"}[$__rate_interval]))', legend: '{{outcome}}' }]
      }),
      curve({
        title: 'Are keys changed in time?',
        description: 'How long until each key should change. Good is a saw that turns back up before it reaches zero.',
        runbook: 'key-rotation',
        unit: 's',
        width: 8,
        limits: true,
        steps: worseBelow(-day, 0),
        queries: [{ expr: ofKeys('until'), legend: '{{kind}} {{alg}}' }]
      }),
      curve({
        title: 'Do the clocks of the replicas agree?',
        description: 'By how much replicas differ in the age of one and the same signing key, and so in their clocks. Below five seconds is good; from 30 on services with keys of their own are refused. Hours: replicas sign with different keys.',
        runbook: 'clocks',
        unit: 's',
        width: 8,
        min: 0,
        limits: true,
        steps: [[null, good], [5, warn], [30, bad]],
        queries: [{
          expr: 'max by (alg) (passerelle_key_age_seconds{kind="signing"} - timestamp(passerelle_key_age_seconds{kind="signing"})) - min by (alg) (passerelle_key_age_seconds{kind="signing"} - timestamp(passerelle_key_age_seconds{kind="signing"}))',
          legend: '{{alg}}'
        }]
      })
    ]
  ]
})
