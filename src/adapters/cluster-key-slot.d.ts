declare module 'cluster-key-slot' {
  /** The hash slot of a key (Redis Cluster specification, "Key distribution model"). */
  export default function calculateSlot (key: string): number
}
