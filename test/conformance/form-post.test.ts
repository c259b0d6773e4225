import t from 'tap'
import { tellBasicModules } from './basic-modules.ts'

t.test('Form Post OP, basic', t => tellBasicModules(t, 'form_post'))
