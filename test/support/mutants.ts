import ts from 'typescript'

/** One check taken away from one file. */
export interface Mutant {
  file: string
  line: number
  /** the check as it stands */
  snippet: string
  /** what was done to it */
  change: string
  start: number
  end: number
  text: string
}

/** Calls that answer yes or no, and so are a check where nothing else surrounds them. */
const predicate = /^(has|is|are|can|includes|test|some|every|equals?|matches|startsWith|endsWith|timingSafeEqual|verify)/
/** Calls made for what they refuse; their answer is not used. */
const refusing = /check|assert|verify|ensure|require|reject|refuse/i
/** Options by which a library is asked to check. */
const checkedByLibrary = /^(state|nonce|issuer|audience|subject|algorithms|typ|crit|max_?age|maxTokenAge|requiredClaims|pkceCodeVerifier|idTokenExpected|expected[A-Z]\w*)$/i

const boundaries = new Map([
  [ts.SyntaxKind.LessThanToken, '<='], [ts.SyntaxKind.LessThanEqualsToken, '<'],
  [ts.SyntaxKind.GreaterThanToken, '>='], [ts.SyntaxKind.GreaterThanEqualsToken, '>'],
])
const comparisons = new Set([
  ...boundaries.keys(),
  ts.SyntaxKind.EqualsEqualsEqualsToken, ts.SyntaxKind.ExclamationEqualsEqualsToken,
  ts.SyntaxKind.EqualsEqualsToken, ts.SyntaxKind.ExclamationEqualsToken,
  ts.SyntaxKind.InKeyword, ts.SyntaxKind.InstanceOfKeyword,
])

/**
 * Every check of a source file, each taken away once: guards that never fire, operands of && and || that no longer count, conditions that are always
 * or never true, comparisons off by one, defaults that are missing, refusals that are silent, options that a library is not given.
 */
export function mutantsOf (file: string, source: string): Mutant[] {
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true)
  const found = new Map<string, Mutant>()

  const add = (node: ts.Node, text: string, change: string, shown: ts.Node = node, end = node.getEnd()) => {
    const start = node.getStart(tree)
    const { line } = tree.getLineAndCharacterOfPosition(start)
    const snippet = shown.getText(tree).replace(/\s+/g, ' ')
    const key = `${start} ${end} ${text}`
    if (source.slice(start, end) !== text && !found.has(key)) found.set(key, { file, line: line + 1, snippet, change, start, end, text })
  }
  /** What a check does beside answering stays: only its answer is taken away. */
  const replace = (node: ts.Node, value: string, shown?: ts.Node) => {
    const text = node.getText(tree)
    const isDecided = value === 'true' || value === 'false'
    add(node, isDecided && hasCall(node) ? `((${text}), ${value})` : value, `${short(text)} → ${value}`, shown)
  }

  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isImportDeclaration(node)) return
    if (ts.isIfStatement(node)) mutateCondition(node.expression, leaves(node.thenStatement) && !node.elseStatement ? ['false'] : ['true', 'false'])
    if (ts.isConditionalExpression(node)) mutateCondition(node.condition, ['true', 'false'])
    if (ts.isBinaryExpression(node)) mutateBinary(node)
    if (ts.isThrowStatement(node) && !isGuarded(node)) add(node, '{}', 'no longer thrown')
    if (ts.isExpressionStatement(node)) mutateStatement(node)
    if (ts.isCallExpression(node)) mutateOptions(node)
    const answer = answerOf(node)
    if (answer) mutateAnswer(answer)
    ts.forEachChild(node, visit)
  }

  /** Operands have mutants of their own; where one operand alone decides, the whole need not be tried as well. */
  const mutateCondition = (condition: ts.Expression, values: string[]) => {
    const bare = unwrapped(condition)
    const operator = ts.isBinaryExpression(bare) ? bare.operatorToken.kind : undefined
    for (const value of values) {
      if (operator === ts.SyntaxKind.BarBarToken && value === 'false') continue
      if (operator === ts.SyntaxKind.AmpersandAmpersandToken && value === 'true') continue
      replace(condition, value, condition.parent.kind === ts.SyntaxKind.IfStatement ? headOf(condition.parent as ts.IfStatement) : condition.parent)
    }
  }

  const mutateBinary = (node: ts.BinaryExpression) => {
    const operator = node.operatorToken.kind
    if (operator === ts.SyntaxKind.AmpersandAmpersandToken || operator === ts.SyntaxKind.BarBarToken) {
      for (const operand of [node.left, node.right]) {
        const bare = unwrapped(operand)
        if (ts.isBinaryExpression(bare) && bare.operatorToken.kind === operator) continue // its own operands are tried
        replace(operand, operator === ts.SyntaxKind.BarBarToken ? 'false' : 'true', node)
      }
    }
    const boundary = boundaries.get(operator)
    const isEmptiness = ts.isNumericLiteral(node.right) && node.right.text === '0' && lastName(node.left) === 'length' // length >= 0 is true
    if (boundary && !isEmptiness) add(node.operatorToken, boundary, `${node.operatorToken.getText(tree)} → ${boundary}`, node)
    if (operator === ts.SyntaxKind.QuestionQuestionToken) add(node, node.left.getText(tree), 'without its default')
    if (operator === ts.SyntaxKind.QuestionQuestionEqualsToken) add(node, node.left.getText(tree), 'without its default')
  }

  const mutateStatement = (node: ts.ExpressionStatement) => {
    const call = ts.isAwaitExpression(node.expression) ? node.expression.expression : node.expression
    if (ts.isCallExpression(call) && refusing.test(call.expression.getText(tree))) add(node, '{}', 'no longer called')
  }

  const mutateOptions = (node: ts.CallExpression) => {
    if (node.expression.getText(tree).startsWith('Type.')) return // a schema's members are no options
    for (const argument of node.arguments) {
      if (!ts.isObjectLiteralExpression(argument)) continue
      for (const property of argument.properties) {
        const name = property.name && ts.isIdentifier(property.name) ? property.name.text : ''
        if (!checkedByLibrary.test(name)) continue
        const comma = /^\s*,/.exec(source.slice(property.getEnd()))?.[0].length ?? 0
        add(property, '', `${name} is not given`, property, property.getEnd() + comma)
      }
    }
  }

  const mutateAnswer = (answer: ts.Expression) => {
    const bare = unwrapped(answer)
    if (ts.isPrefixUnaryExpression(bare) && bare.operator === ts.SyntaxKind.ExclamationToken) replace(answer, bare.operand.getText(tree))
    const isComparison = ts.isBinaryExpression(bare) && comparisons.has(bare.operatorToken.kind)
    const isPredicate = ts.isCallExpression(bare) && predicate.test(lastName(bare.expression))
    if (isComparison || isPredicate) for (const value of ['true', 'false']) replace(answer, value)
  }

  const headOf = (node: ts.IfStatement): ts.Node => leaves(node.thenStatement) && !ts.isBlock(node.thenStatement) ? node : node.expression

  visit(tree)
  return [...found.values()].sort((a, b) => a.start - b.start)
}

/** The source with one check taken away. */
export function mutated (source: string, { start, end, text }: Mutant): string {
  return source.slice(0, start) + text + source.slice(end)
}

/** What a function answers: the body of an arrow function, or what is returned. */
function answerOf (node: ts.Node): ts.Expression | undefined {
  if (ts.isArrowFunction(node) && !ts.isBlock(node.body)) return node.body
  if (ts.isReturnStatement(node)) return node.expression
  if (ts.isVariableDeclaration(node)) return node.initializer
  if (ts.isPropertyAssignment(node)) return node.initializer
  return undefined
}

function hasCall (node: ts.Node): boolean {
  return ts.isCallExpression(node) || ts.forEachChild(node, child => hasCall(child) || undefined) === true
}

/** A throw that is all an `if` does goes with its condition. */
function isGuarded (node: ts.Node): boolean {
  const parent = ts.isBlock(node.parent) && node.parent.statements.length === 1 ? node.parent.parent : node.parent
  return ts.isIfStatement(parent)
}

function leaves (statement: ts.Statement): boolean {
  const last = ts.isBlock(statement) ? statement.statements.at(-1) : statement
  return last !== undefined && (ts.isThrowStatement(last) || ts.isReturnStatement(last) || ts.isContinueStatement(last) || ts.isBreakStatement(last))
}

function unwrapped (node: ts.Expression): ts.Expression {
  return ts.isParenthesizedExpression(node) || ts.isAwaitExpression(node) ? unwrapped(node.expression) : node
}

function lastName (node: ts.Expression): string {
  return ts.isPropertyAccessExpression(node) ? node.name.text : ts.isIdentifier(node) ? node.text : ''
}

function short (text: string): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 60 ? `${line.slice(0, 57)}…` : line
}
