import { readFileSync } from 'node:fs'

// Prints what the production tree is made of, as CycloneDX: each package that npm installed from package-lock.json, and the Node.js that runs this.
// `npm sbom --omit=dev` does not: of npm 11.19's list 13 packages are missing that development needs as well, jose and yaml among them; npm before 9.9 has no such command.

interface Installed { name?: string, version: string, integrity?: string, license?: string, dev?: boolean, optional?: boolean, devOptional?: boolean }

/** A list of the packages in one `node_modules/.package-lock.json` that production needs (CycloneDX 1.6). No time and no serial number: the same tree gives the same bytes. */
export function billOfMaterials (about: { name: string, version: string, license: string }, installed: Record<string, Installed>, node: string) {
  const packages = Object.entries(installed).filter(([, { dev, optional, devOptional }]) => !dev && !optional && !devOptional)
  // one package may lie at several paths
  const components = new Map(packages.map(([path, { name = path.slice(path.lastIndexOf('node_modules/') + 13), version, integrity, license }]) => {
    const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
    return [purl, {
      type: 'library',
      'bom-ref': purl,
      name,
      version,
      purl,
      ...(integrity?.startsWith('sha512-') ? { hashes: [{ alg: 'SHA-512', content: Buffer.from(integrity.slice(7), 'base64').toString('hex') }] } : {}),
      ...(license === undefined ? {} : { licenses: [{ expression: license }] })
    }]
  }))
  const { name, version, license } = about
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: { component: { type: 'application', 'bom-ref': name, name, version, licenses: [{ expression: license }] } },
    components: [
      { type: 'platform', 'bom-ref': 'node', name: 'node', version: node, cpe: `cpe:2.3:a:nodejs:node.js:${node}:*:*:*:*:*:*:*` },
      ...components.values()
    ]
  }
}

if (import.meta.main) {
  const read = (file: string) => JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'))
  try {
    console.log(JSON.stringify(billOfMaterials(read('package.json'), read('node_modules/.package-lock.json').packages, process.versions.node), null, 2))
  } catch (error) {
    console.error(`${(error as Error).message}: npm ci writes it, npm run setup too`)
    process.exitCode = 1
  }
}
