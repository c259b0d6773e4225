import t from 'tap'
import { tellBasicModules } from './basic-modules.ts'

t.test('Basic OP', t => tellBasicModules(t))
