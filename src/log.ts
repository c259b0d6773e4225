import type { FastifyRequest } from 'fastify'
import { OAuthError } from './protocol/errors.ts'

/** How requests and errors are written: never a URL, which holds codes and states, never a foreign error bare, which may hold a name. */
export const loggable = {
  serializers: {
    req: (request: FastifyRequest) => ({ method: request.method, route: request.routeOptions?.url ?? 'none' }),
    err: (error: unknown) => described(error) as { type: string, message: string, stack: string }
  }
} as const

/** Where an error was thrown. Its message, which stands before, may hold what somebody wrote to look like this. */
function framesOf ({ message, stack = '' }: Error) {
  const end = stack.indexOf(message) + message.length
  return stack.slice(Math.max(0, end)).split('\n').filter(line => /^ {4}at /.test(line)).slice(0, 8).join('\n')
}

/** The message of an error that is ours; of any other its kind, its code and where it was thrown. */
function described (error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { type: typeof error }
  const { code } = error as NodeJS.ErrnoException
  const own = error instanceof OAuthError
  return {
    type: error.name,
    ...(own ? { message: error.message } : {}),
    ...(typeof code === 'string' ? { code } : {}),
    ...(own && error.row.status < 500 ? {} : { stack: framesOf(error) }),
    ...(error.cause === undefined || depth > 4 ? {} : { cause: described(error.cause, depth + 1) })
  }
}
