// The part of oidc-provider 9 that the world uses; the package brings no types.
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  export interface Grant { addOIDCScope (scope: string): void, save (): Promise<string> }
  export interface Session { acr?: string, accountId?: string, state?: { secret: string }, destroy (): Promise<void> }

  /** A Koa context with what the provider knows of the request. */
  export interface Context {
    type: string
    status: number
    body: unknown
    path: string
    response: { get (name: string): string, set (name: string, value: string): void, remove (name: string): void }
    cookies: { set (name: string, value: null, options?: object): void }
    redirect (address: string): void
    oidc: {
      provider: Provider
      params: Record<string, string | undefined>
      session: Session
      client: { clientId: string }
      account: { accountId: string }
      result?: { login?: object }
      entities: { IdTokenHint?: unknown }
      promptPending (name: string): boolean
    }
  }

  export interface Interaction { uid: string, prompt: { name: string }, params: Record<string, string | undefined> }

  export class Provider {
    constructor (issuer: string, configuration: object)
    readonly issuer: string
    readonly Grant: { new (grant: { accountId: string, clientId: string }): Grant, find (id: string): Promise<Grant | undefined> }
    callback (): (request: IncomingMessage, response: ServerResponse) => void
    use (middleware: (ctx: Context, next: () => Promise<void>) => Promise<void>): void
    on (event: 'server_error', listener: (ctx: Context, error: Error) => void): void
    urlFor (route: string): string
    cookieName (type: 'session' | 'interaction' | 'resume'): string
    interactionDetails (request: IncomingMessage, response: ServerResponse): Promise<Interaction>
    interactionFinished (request: IncomingMessage, response: ServerResponse, result: object, options?: { mergeWithLastSubmission?: boolean }): Promise<void>
  }

  interface Policy { get (name: string): { checks: { add (check: unknown): void } } }
  export const interactionPolicy: {
    base (): Policy
    Check: {
      new (reason: string, description: string, check: (ctx: Context) => boolean): unknown
      REQUEST_PROMPT: boolean
      NO_NEED_TO_PROMPT: boolean
    }
  }
}
