import { BoundedMap } from './bounded.ts'

type Payload = Record<string, unknown>

/** What dies with its grant; an interaction names one too, and lives on. */
const granted = /^(AccessToken|AuthorizationCode|RefreshToken):/

/** The memory of one identity provider: an adapter for oidc-provider that forgets its oldest entries. */
export function createStore (limit: number) {
  const entries = new BoundedMap<string, { payload: Payload, expires: number }>(limit)
  const sessionIds = new BoundedMap<unknown, string>(limit)

  return (model: string) => {
    const key = (id: string) => `${model}:${id}`
    const find = async (id: string) => {
      const entry = entries.get(key(id))
      return entry && entry.expires > Date.now() ? entry.payload : undefined
    }
    return {
      find,
      async upsert (id: string, payload: Payload, expiresIn: number) {
        entries.set(key(id), { payload, expires: Date.now() + expiresIn * 1000 })
        if (model === 'Session') sessionIds.set(payload['uid'], id)
      },
      async findByUid (uid: string) { return find(sessionIds.get(uid) ?? '') },
      async findByUserCode () {},
      async consume (id: string) { Object.assign(await find(id) ?? {}, { consumed: Math.floor(Date.now() / 1000) }) },
      async destroy (id: string) { entries.delete(key(id)) },
      async revokeByGrantId (grantId: string) {
        for (const [name, { payload }] of entries) if (payload['grantId'] === grantId && granted.test(name)) entries.delete(name)
      }
    }
  }
}
