/** Each variant of each fault in a few words, for whoever has not read its source. */
export const words: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  F1: {
    rolling: 'all replicas replaced in turn by SIGTERM',
    previous_release_and_back: 'the same, to another release and back'
  },
  F2: {
    killed: 'a replica killed',
    killed_gets_retried: 'the same, a balancer that sends a GET again'
  },
  F3: {
    stopped: 'a replica frozen',
    loop_blocked: 'the event loop of a replica blocked for 5 s'
  },
  F4: {
    killed: 'a Redis primary killed'
  },
  F5: {
    frozen: 'a Redis primary frozen',
    black_holed: 'a Redis primary swallowed by the network'
  },
  F6: {
    planned_failover: 'a planned failover of Redis',
    rolling_restart: 'all of Redis restarted in turn'
  },
  F7: {
    killed: 'all of Redis gone, a replica started meanwhile',
    frozen: 'all of Redis frozen, a replica started meanwhile'
  },
  F8: {
    briefly: 'a replica cut off from one shard for 4 s',
    for_long: 'the same for longer than a request waits'
  },
  F9: {
    lost: 'writes that Redis acknowledged are lost in a failover'
  },
  F10: {
    black_hole: 'a provider swallowed by the network: the others',
    slow: 'a provider answers after 10 s: the others',
    half_errors: 'a provider answers half by 500: the others',
    resets: 'a provider resets: the others',
    garbage_json: 'a provider answers by garbage: the others',
    wrong_iss_token: 'a provider with a wrong iss: the others',
    wrong_nonce: 'a provider with a wrong nonce: the others',
    body_50mb: 'a provider answers by 50 MB: the others'
  },
  F11: {
    running: 'all providers down, since they are back',
    restarted_redis_flushed: 'the same, all replicas started meanwhile, Redis empty',
    restarted_redis_kept: 'the same, all replicas started meanwhile'
  },
  F12: {
    keys_renewed: 'a provider changes its keys without overlap',
    unknown_kid: 'a flood of unknown kids at one provider: the others',
    jwks_away: 'the keys of a provider are not to be had'
  },
  F13: {
    kept_10_minutes: 'our signing keys rotate, services keep them for ten minutes (scaled)',
    not_kept: 'our signing keys rotate, services keep them for no time',
    revoked_next_waits: 'a signing key is revoked whose next waits',
    revoked_none_waits: 'a signing key is revoked and no next waits'
  },
  F14: {
    in_time: 'our sealing keys rotate in the middle of logins',
    too_late: 'our sealing keys rotate, brought to a replica after their use',
    revoked: 'a sealing key is revoked'
  },
  F15: {
    come_and_go: 'clients and providers come, go and are disabled',
    come_and_go_mounted: 'the same, files changed as Kubernetes does, by a link',
    again_and_again: 'a service and a provider change again and again',
    broken_files: 'broken files are put into the configuration'
  },
  F16: {
    killed: 'one of two sites lost, with its Redis, and back empty',
    frozen: 'one of two sites frozen, and back'
  },
  F17: {
    refused: 'the link between two sites cut',
    swallowed: 'the link between two sites swallows what is sent'
  },
  F18: {
    five_times: 'five times the rated load',
    ten_times: 'ten times the rated load',
    ten_times_who_stay: 'the same, citizens stay at their providers for up to 20 s',
    bad_client_ids: 'bad client_ids as fast as they can be sent',
    slow_clients: '640 slow clients'
  },
  F19: {
    redis_frozen: 'ten times the load when Redis is back',
    replicas_killed: 'ten times the load when the replicas are back'
  },
  F21: {
    replica_ahead: 'the clock of a replica a minute ahead',
    replica_behind: 'the clock of a replica a minute behind',
    provider_ahead: 'the clock of a provider a minute ahead',
    provider_behind: 'the clock of a provider a minute behind',
    provider_far_ahead: 'the clock of a provider 150 s ahead',
    provider_far_behind: 'the clock of a provider 15 minutes behind',
    replica_far_behind: 'the clock of a replica 150 s behind'
  },
  F22: {
    pipe_blocked: 'nobody reads the log',
    disk_full: 'the disk of the log is full',
    metrics_hung: 'readers of the metrics that hang'
  },
  F23: {
    five_tabs: 'five logins in five tabs of one browser',
    back_button: 'the back button, from the end to the beginning',
    double_submit: 'every button pressed twice',
    callback_replayed: 'the address of a callback opened again, also in another browser',
    cookies_off: 'a browser without cookies',
    idle_at_chooser: 'half an hour idle before the choice',
    idle_at_provider: 'half an hour idle at the provider',
    idle_at_information: 'half an hour idle before the last button'
  },
  F24: {
    soak: 'all of it again and again'
  }
}
