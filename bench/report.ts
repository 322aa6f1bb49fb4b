import { type Outcome, reached, type Target } from './row.ts'

/** The outcomes as a Markdown table. */
export function table(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map((outcome) => [
    outcome.row,
    medianText(outcome),
    outcome.unit === 'requests' ? '' : `${digits(outcome.figure)}${unitOf(outcome)}`,
    targetText(outcome.target, unitOf(outcome)),
    verdict(outcome),
  ])
  const lines = [['work', 'medians', 'result', 'target', ''], ['---', '---', '---', '---', '---'], ...rows]
  const notes = outcomes.flatMap(({ row, note, failed = {} }) => [
    ...(note === undefined ? [] : [`* ${row}: ${note}.`]),
    ...Object.entries(failed).map(
      ([name, why]) => `* ${row}: ${name} failed: ${why.replaceAll(/\s+/g, ' ').slice(0, 300)}`,
    ),
  ])
  return [...lines.map((cells) => `| ${cells.join(' | ')} |`), '', ...notes].join('\n')
}

function medianText({ medians, unit, failed = {} }: Outcome): string {
  const numbers = Object.entries(medians).map(([system, value]) => `${system} ${digits(value)}`)
  const failures = Object.keys(failed).map((name) => `${name} failed`)
  return [`${numbers.join(', ')} ${unit}`, ...failures].join(', ')
}

function unitOf({ figureUnit }: Outcome): string {
  return figureUnit === 'x' || figureUnit === '' ? figureUnit : ` ${figureUnit}`
}

function targetText(target: Target | undefined, unit: string): string {
  if (target === undefined) return '-'
  return target.most === undefined ? `at least ${target.least}${unit}` : `at most ${target.most}${unit}`
}

function verdict(outcome: Outcome): string {
  const good = reached(outcome)
  if (good === undefined) return '-'
  return good ? 'reached' : '**not reached**'
}

function digits(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(3)
}
