/** A value as Grafana writes it with this unit, nearly. It stands alone, so that a page can have it too. */
export function figureOf (value: number, unit: string, decimals?: number): string {
  const plain = (number: number, digits?: number) => number.toLocaleString('en-GB', { minimumFractionDigits: digits ?? 0, maximumFractionDigits: digits ?? (Math.abs(number) < 1 ? 3 : Math.abs(number) < 100 ? 2 : 0), useGrouping: false })
  const by = (steps: ReadonlyArray<readonly [number, string]>) => {
    const [size, name] = steps.findLast(([size]) => Math.abs(value) >= size) ?? steps[0]!
    return plain(value / size, decimals) + name
  }
  if (unit === 'percentunit') return `${plain(value * 100, decimals)} %`
  if (unit === 's') return value === 0 ? '0 s' : by([[1e-6, ' µs'], [1e-3, ' ms'], [1, ' s'], [60, ' min'], [3600, ' h'], [86400, ' d'], [31536000, ' a']])
  if (unit === 'decbytes') return by([[1, ' B'], [1e3, ' kB'], [1e6, ' MB'], [1e9, ' GB']])
  if (unit === 'reqps') return `${plain(value, decimals)} req/s`
  if (unit === 'locale') return Math.round(value).toLocaleString('en-GB')
  if (unit === 'short') return by([[1, ''], [1e3, ' k'], [1e6, ' M']])
  if (unit.startsWith('suffix:')) return plain(value, decimals) + unit.slice('suffix:'.length)
  return plain(value, decimals)
}
