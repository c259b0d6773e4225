import { Type, type Static } from 'typebox'
import { failures, responsibilities, responsibilityFor, type Failure, type SecurityFailure } from './errors.ts'

/** Business events, in the order in which a login meets them. The number of a step never changes its meaning: archives, dashboards and `explain` go by it. */
export const steps = {
  pushed: { step: '0.1', what: 'A service left its request ahead of the citizen (PAR)' },
  authorize: { step: '1.0', what: 'A service asked for a login' },
  sso_used: { step: '1.1', what: 'A session spared the citizen the identity provider' },
  chooser_shown: { step: '2.0', what: 'The citizen was shown the identity providers' },
  hinted: { step: '2.1', what: 'The service named the identity provider, and no choice was shown' },
  provider_chosen: { step: '3.0', what: 'The citizen was sent to an identity provider' },
  called_back: { step: '4.0', what: 'The citizen came back from the identity provider' },
  called_back_with_error: { step: '4.0.5', what: 'The citizen came back from the identity provider with an error' },
  provider_token: { step: '4.1', what: 'The identity provider was asked for its tokens' },
  provider_userinfo: { step: '4.2', what: 'The identity provider was asked for the identity' },
  verified: { step: '5.0', what: 'The answer and the identity were checked' },
  provider_refused: { step: '5.1', what: 'An identity provider could not be chosen: it is disabled, not allowed for this service, of too low a level, in maintenance, or does not answer' },
  information_shown: { step: '6.0', what: 'The citizen was shown what will be sent' },
  consent_given: { step: '6.1', what: 'The citizen agreed' },
  consent_refused: { step: '6.2', what: 'The citizen gave up' },
  returned: { step: '7.0', what: 'The citizen was sent back to the service' },
  login_notice: { step: '7.1', what: 'A login was made in the name of a person, who can be told of it' },
  token: { step: '7.2', what: 'The service redeemed the code' },
  userinfo: { step: '7.3', what: 'The service read the identity' },
  introspection: { step: '7.4', what: 'A data provider asked what a token is worth' },
  revocation: { step: '7.5', what: 'A service gave a token up' },
  logout_asked: { step: '8.0', what: 'A logout was asked for' },
  upstream_logout: { step: '8.1', what: 'The citizen was sent to the identity provider to log out there' },
  session_ended: { step: '8.2', what: 'A session was ended' }
} as const
export type EventName = keyof typeof steps

/** Whether an event is a step of a login. */
export const isStep = (event: string): event is EventName => event in steps

/** What a step came to: a success, or on whose side the failure lies. */
export const outcomes = ['success', ...responsibilities] as const
export type Outcome = typeof outcomes[number]

const isSecurity = (failure: Failure): failure is SecurityFailure => 'security' in failures[failure]

/** The event that a failure is: a security event by its own name, or the step that it kept from happening. */
export function eventOf (failure: Failure, step: EventName | undefined): EventName | SecurityFailure | 'failed' {
  return isSecurity(failure) ? failure : step ?? 'failed'
}

/** What stands beside the name of an event. */
export const marksOf = (event: string) => isStep(event) ? { step: steps[event].step } : event === 'failed' ? {} : { security: true }

export const outcomeOf = (failure: Failure): Outcome => responsibilityFor(failure)

const securityEvents = (Object.keys(failures) as Failure[]).filter(isSecurity)
const id = (description: string) => Type.Optional(Type.String({ description }))

/** An event as it stands in the log. Other lines have no `event`. */
export const EventLine = Type.Object({
  event: Type.Enum([...Object.keys(steps), 'failed', ...securityEvents], { description: 'what happened; `failed` for a failure that is of no step' }),
  step: Type.Optional(Type.Enum([...new Set(Object.values(steps).map(({ step }) => step))], { description: 'the step of a login; a security event has none' })),
  security: Type.Optional(Type.Literal(true, { description: 'a security event' })),
  outcome: Type.Enum([...outcomes], { description: 'what it came to: `success`, or on whose side the failure lies' }),
  failure: Type.Optional(Type.Enum(Object.keys(failures), { description: 'the failure, where it is one' })),
  code: id('what the citizen reads of the failure on the page'),
  login: id('the login, from its first event to its last, at all replicas and sites'),
  session_of: id('the login that opened the session'),
  client_id: id('the service'),
  idp: id('the identity provider'),
  acr: id('the level of assurance: asked for at 1.0, reached from 5.0 on'),
  active: Type.Optional(Type.Boolean({ description: 'what the data provider was told of the token (7.4)' })),
  degraded: Type.Optional(Type.Literal(true, { description: 'by a code that held its record, since the store was away' })),
  sub: id('the person, as the service knows it that sends login notices (7.1); in no other event'),
  ms: Type.Optional(Type.Integer({ description: 'how long the identity provider took (4.1, 4.2)' })),
  err: Type.Optional(Type.Unknown({ description: 'where the failure arose, without anything that a browser, service or provider said' })),
  reqId: Type.String({ description: 'the request, as the citizen reads it on an error page and the answer\'s `x-request-id` says' }),
  site: Type.String({ description: 'the site' }),
  replica: Type.String({ description: 'the host name of the replica' }),
  pid: Type.Integer(),
  time: Type.Integer({ description: 'milliseconds since 1970-01-01T00:00:00Z' }),
  level: Type.Enum([30, 40, 50], { description: '30 as usual, 40 a security event, 50 a failure of ours or of an identity provider' }),
  msg: Type.Optional(Type.String())
}, { additionalProperties: false })
export type EventLine = Static<typeof EventLine>

/** What whoever writes an event says of it; the rest is known of the request. */
export type EventFields = Partial<Pick<EventLine, 'failure' | 'code' | 'login' | 'session_of' | 'client_id' | 'idp' | 'acr' | 'active' | 'degraded' | 'sub' | 'ms' | 'outcome'>> & { err?: unknown }
