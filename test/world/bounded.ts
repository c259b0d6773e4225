/** A map that forgets its oldest entries, so that a world under load keeps its size. */
export class BoundedMap<Key, Value> extends Map<Key, Value> {
  readonly limit: number

  constructor (limit: number) {
    super()
    this.limit = limit
  }

  override set (key: Key, value: Value) {
    this.delete(key)
    super.set(key, value)
    if (this.size > this.limit) this.delete(this.keys().next().value!)
    return this
  }
}
