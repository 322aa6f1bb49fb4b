import type { Command } from 'commander'
import { existsSync } from 'node:fs'
import { table } from './output.ts'
import { isHidden, settingsOf, settingsPlaces, takesSettings } from './settings.ts'
import { type Context, verb } from './verb.ts'

/** `flistfs config`: which settings are in force, and where each comes from. */
export function addConfig(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'config', 'show the settings in force and where each comes from').action(async () => {
    const { shownValues } = await import('../lib/commands/config.ts')
    const files = settingsPlaces().map((path) => ({ path, found: existsSync(path) }))
    const settings: { verb: string; option: string; values: string[]; from: string }[] = []
    for (const { command, name } of program.commands
      .filter((one) => takesSettings(one) && !isHidden(program, one))
      .flatMap(withBelow)) {
      for (const { option, values, from } of await settingsOf(() => program, command)) {
        settings.push({ verb: name, option: option.long?.slice(2) ?? '', values: shownValues(values), from })
      }
    }
    const rows = settings.map(({ verb: name, option, values, from }) => [name, option, values.join(' '), from])
    const text = rows.length === 0 ? 'Nothing is set\n' : table([['VERB', 'OPTION', 'VALUE', 'FROM'], ...rows])
    const places = files.map(({ path, found }) => [path, found ? 'read' : 'not there'])
    context.output.result({ files, settings }, `${text}\n${table(places)}`)
    done(0)
  })
}

/** A verb and those below it, `cache` and `cache prune`. */
function withBelow(command: Command): { command: Command; name: string }[] {
  const name = command.name()
  return [{ command, name }, ...command.commands.map((below) => ({ command: below, name: `${name} ${below.name()}` }))]
}
