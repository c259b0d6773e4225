import { chromium, type Browser } from 'playwright-core'
import type { Teardown } from './gateway.ts'

/** The system's Chromium without a window, which finds every name under `suffix` on this machine and trusts one key. It ends with the test. */
export async function startChromium (t: Teardown, { suffix, spki }: { suffix: string, spki?: string }): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      `--host-resolver-rules=MAP *.${suffix} 127.0.0.1`,
      ...(spki === undefined ? [] : [`--ignore-certificate-errors-spki-list=${spki}`])
    ]
  })
  t.teardown(() => browser.close())
  return browser
}
