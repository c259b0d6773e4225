import { Parser } from 'htmlparser2'

/** A control of a form; `value` is what stands in it. */
export interface Field { name: string, type: string, value: string, checked: boolean, autocomplete: string }
export interface Button { id: string, name: string, value: string, action?: string | undefined }
export interface Form { method: 'GET' | 'POST', action: string, fields: Field[], buttons: Button[] }

/** What a browser without scripts sees in a page, as far as a login needs it. */
export interface Page {
  forms: Form[]
  /** addresses of its links, by id */
  links: Map<string, string>
  /** why the gateway shows its chooser again */
  notice?: string | undefined
  /** what a citizen is to tell support */
  code?: string | undefined
  id?: string | undefined
  /** before its relative addresses (HTML §4.2.3) */
  base?: string | undefined
}

const told = { 'error-code': 'code', 'error-id': 'id' } as const

/** Characters read between two looks at the clock: a parser takes long over a page that was made for that. */
const slice = 4096

/** Reads a page in one pass; `inTime` throws when there is no more time. */
export function readPage (html: string, inTime: () => void = () => {}): Page {
  const page: Page = { forms: [], links: new Map() }
  const byId = new Map<string, Form>()
  let form: Form | undefined
  let select: Field | undefined
  let telling: 'code' | 'id' | undefined

  const parser = new Parser({
    onopentag (tag, attributes) {
      const { id = '', name = '', value = '', href } = attributes
      telling = Object.hasOwn(told, id) ? told[id as keyof typeof told] : undefined
      if (id === 'notice') page.notice = attributes['data-code']
      const owner = attributes['form'] === undefined ? form : byId.get(attributes['form'])
      const type = (attributes['type'] ?? '').toLowerCase()
      const add = (field: Partial<Field>) => {
        const whole = { name, type, value, checked: false, autocomplete: attributes['autocomplete'] ?? '', ...field }
        if (name !== '' && attributes['disabled'] === undefined) owner?.fields.push(whole)
        return whole
      }
      switch (tag) {
        case 'base': page.base ??= href; break
        case 'a': if (href !== undefined && id !== '') page.links.set(id, href); break
        case 'form':
          form = { method: attributes['method']?.toLowerCase() === 'post' ? 'POST' : 'GET', action: attributes['action'] ?? '', fields: [], buttons: [] }
          page.forms.push(form)
          byId.set(id, form)
          break
        case 'button':
        case 'input':
          if (type === 'submit' || type === 'image' || (tag === 'button' && type !== 'button' && type !== 'reset')) {
            if (attributes['disabled'] === undefined) owner?.buttons.push({ id, name, value, action: attributes['formaction'] })
          } else if (tag === 'input' && type !== 'button' && type !== 'reset' && type !== 'file') {
            const ticked = type === 'checkbox' || type === 'radio'
            add({ checked: attributes['checked'] !== undefined, ...(ticked && attributes['value'] === undefined ? { value: 'on' } : {}) })
          }
          break
        case 'textarea': add({ type: 'textarea' }); break
        case 'select': select = add({ type: 'select' }); break
        case 'option': if (select !== undefined && (select.value === '' || attributes['selected'] !== undefined)) select.value = value; break
      }
    },
    ontext (text) { if (telling !== undefined) page[telling] = (page[telling] ?? '') + text },
    onclosetag (tag) {
      telling = undefined
      if (tag === 'form') form = undefined
      if (tag === 'select') select = undefined
    }
  })
  for (let at = 0; at < html.length; at += slice) {
    inTime()
    parser.write(html.slice(at, at + slice))
  }
  parser.end()
  return page
}

/** What a form sends (HTML §4.10.21.4) when this is filled in and this button pressed, with all its boxes ticked if so wished. */
export function entries ({ fields }: Form, { filled = {}, button, tick = false }: { filled?: Record<string, string>, button?: Button | undefined, tick?: boolean } = {}) {
  const sent = new URLSearchParams()
  for (const { name, type, value, checked } of fields) {
    const counts = type === 'checkbox' ? checked || tick : type !== 'radio' || checked
    if (counts) sent.append(name, Object.hasOwn(filled, name) ? filled[name]! : value)
  }
  if (button !== undefined && button.name !== '') sent.append(button.name, button.value)
  return sent
}
