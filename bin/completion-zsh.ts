import {
  allVerbs,
  type CompletedOption,
  type CompletedVerb,
  type Kind,
  MOUNTS_COMMAND,
  quoted,
} from './completion-model.ts'

/** A function a verb, in the terms of zsh's own `_arguments`. */
export function zshCompletion(program: CompletedVerb): string {
  return `#compdef flistfs
# Completion of flistfs for zsh, made by \`flistfs completion zsh\`.

_flistfs_mounts() {
  local line
  local -a found
  for line in \${(f)"$(${MOUNTS_COMMAND})"}; do found+=("$(printf '%b' "$line")"); done
  # Not as file names: a dead mount hangs who looks at it.
  compadd -a found
}

${allVerbs(program).map(verbFunction).join('\n\n')}

if [ "$funcstack[1]" = "_flistfs" ]; then _flistfs "$@"; else compdef _flistfs flistfs; fi
`
}

function functionName(verb: CompletedVerb): string {
  return ['_flistfs', ...verb.path].join('_')
}

function verbFunction(verb: CompletedVerb): string {
  const options = verb.options.map(optionWord)
  if (verb.verbs.length === 0) {
    const places = verb.places.map(({ name, kind, variadic }) =>
      quoted(`${variadic ? '*' : ''}:${name}:${action(kind)}`),
    )
    return `${functionName(verb)}() {\n  _arguments -s : \\\n    ${[...options, ...places].join(' \\\n    ')}\n}`
  }
  const described = verb.verbs.flatMap((below) => below.names.map((name) => quoted(`${name}:${below.description}`)))
  const cases = verb.verbs.map((below) => `        ${below.names.join(' | ')}) ${functionName(below)} ;;`)
  return `${functionName(verb)}() {
  local curcontext="$curcontext" state line
  local -a verbs
  verbs=(${described.join('\n    ')})
  _arguments -C : \\
    ${options.join(' \\\n    ')} \\
    '1: :->verb' '*:: :->rest'
  case $state in
    verb) _describe verb verbs ;;
    rest)
      case $words[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}`
}

/** `'(-c --cache)'{-c+,--cache=}'[folder of the cache]:dir:_files -/'`. */
function optionWord({ short, long, description, value, repeatable }: CompletedOption): string {
  const names = short === undefined ? [long] : [short, long]
  const plus = (name: string): string => (value === undefined ? name : name.startsWith('--') ? `${name}=` : `${name}+`)
  const what = `[${description.replaceAll(/[[\]\\]/g, String.raw`\$&`)}]`
  const message = (value?.name ?? '').replaceAll(/[:[\]\\]/g, String.raw`\$&`)
  const rest = value === undefined ? '' : `${value.optional ? '::' : ':'}${message}:${action(value.kind)}`
  const mark = repeatable ? quoted('*') : names.length > 1 ? quoted(`(${names.join(' ')})`) : ''
  const spelled = names.length > 1 ? `{${names.map(plus).join(',')}}` : quoted(plus(long))
  return `${mark}${spelled}${quoted(what + rest)}`
}

function action(kind: Kind): string {
  if (typeof kind !== 'string') return `(${kind.join(' ')})`
  return { file: '_files', folder: '_path_files -/', mount: '_flistfs_mounts', none: ' ' }[kind]
}
