import { Ajv } from 'ajv'
import type { TSchema } from 'typebox'

const ajv = new Ajv({ allErrors: true, useDefaults: true, strict: false, verbose: true })

/** Faults of shape: the path and what was expected there. The defaults are filled in on the way. */
export function faultsOf (schema: TSchema, value: unknown) {
  ajv.validate(schema, value)
  return (ajv.errors ?? []).map(({ instancePath, keyword, message, params, parentSchema }) => {
    switch (keyword) {
      case 'additionalProperties': return `${instancePath || '/'}: unknown setting ${params.additionalProperty}`
      case 'required': return `${instancePath || '/'}: expected ${params.missingProperty}`
      case 'enum': return `${instancePath}: expected one of ${params.allowedValues.join(', ')}`
      case 'pattern': return `${instancePath}: expected ${parentSchema!.expected}`
      default: return `${instancePath || '/'}: ${message}`
    }
  })
}
