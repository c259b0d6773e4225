/** What these tests use of libraries that bring no types of their own. */
declare module 'express' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  export interface Request extends IncomingMessage, Express.Request {
    query: Record<string, string>
  }
  export interface Response extends ServerResponse, Express.Response {
    status (code: number): Response
    send (body: string): Response
    redirect (address: string): void
  }
  type Next = (error?: unknown) => void
  export type RequestHandler = (request: Request, response: Response, next: Next) => unknown
  export type ErrorRequestHandler = (error: Error & Record<string, unknown>, request: Request, response: Response, next: Next) => unknown

  export interface Application {
    (request: IncomingMessage, response: ServerResponse): void
    use (...handlers: Array<RequestHandler | ErrorRequestHandler>): Application
    get (path: string, ...handlers: RequestHandler[]): Application
  }
  export default function express (): Application
}

declare module 'express-session' {
  import type { RequestHandler } from 'express'
  import type { SessionStore, SessionStorePayload } from 'express-openid-connect'

  export default function session (options: { name: string, secret: string, resave: boolean, saveUninitialized: boolean, cookie: { sameSite: 'lax' } }): RequestHandler
  export const MemoryStore: new () => SessionStore<Pick<SessionStorePayload, 'cookie'>>
}

declare module 'passport' {
  import type { RequestHandler } from 'express'
  export class Passport {
    use (strategy: object): this
    serializeUser (serialize: (user: object, done: (error: unknown, kept: object) => void) => void): void
    deserializeUser (restore: (kept: object, done: (error: unknown, user: object) => void) => void): void
    authenticate (strategy: string, options?: Record<string, string>): RequestHandler
    session (): RequestHandler
  }
}

declare module 'passport-openidconnect' {
  import type { Agent } from 'node:http'

  interface Profile { id: string, name?: { familyName: string, givenName: string }, emails?: Array<{ value: string }> }
  interface Context { class?: string, timestamp?: Date }
  type Done = (error: unknown, user?: object) => void
  type Verify = (issuer: string, profile: Profile, context: Context, idToken: string, accessToken: string, refreshToken: string | undefined, done: Done) => void

  export class Strategy {
    constructor (options: {
      issuer: string
      authorizationURL: string
      tokenURL: string
      userInfoURL: string
      clientID: string
      clientSecret: string
      callbackURL: string
      scope: string[]
      nonce: string
      skipUserProfile: boolean
      agent: Agent
    }, verify: Verify)
  }
}
