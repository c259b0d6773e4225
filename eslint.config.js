import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'

export default [
  ...neostandard({
    ts: true,
    ignores: resolveIgnoresFromGitignore(),
  }),
  {
    rules: {
      camelcase: 'off', // protocol data keeps the spelling of its RFC: client_id, redirect_uri
      'no-control-regex': 'off', // to refuse control characters is what several checks are for
    },
  },
  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-redeclare': 'off', // a schema and its type share a name; tsc finds true doubles
    },
  },
]
