import { allVerbs, type CompletedVerb, type Kind, MOUNTS_COMMAND, quoted } from './completion-model.ts'

/** For bash 4.4 and newer, without the package bash-completion. */
export function bashCompletion(program: CompletedVerb): string {
  return `# Completion of flistfs for bash, made by \`flistfs completion bash\`.

# What may stand at a verb: verbs below it, options, those of them with a value, and the kinds of its arguments.
_flistfs_at() {
  case $1 in
${allVerbs(program).map(verbCase).join('\n')}
  esac
}

# The kind of an option's value.
_flistfs_value() {
  kind=none
  case $1:$2 in
${allVerbs(program).flatMap(valueCases).join('\n')}
  esac
}

_flistfs_mounts() {
  local line
  while IFS= read -r line; do printf '%b\\n' "$line"; done < <(${MOUNTS_COMMAND})
}

_flistfs_fill() {
  local line word
  case $1 in
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    folder) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    mount)
      # Not as file names: bash would look at them, and a dead mount hangs who looks.
      while IFS= read -r line; do
        printf -v word %q "$line"
        if [[ $line == "$cur"* || $word == "$cur"* ]]; then COMPREPLY+=("$word"); fi
      done < <(_flistfs_mounts)
      ;;
    =*) mapfile -t COMPREPLY < <(compgen -W "\${1#=}" -- "$cur") ;;
  esac
}

_flistfs() {
  local cur=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} node= verbs options valued kind word
  local -a places
  local at=1 place=0 last=$COMP_CWORD
  COMPREPLY=()
  # \`--option=value\` comes as three words.
  if [[ $cur == = ]]; then cur=; last=$((COMP_CWORD - 1))
  elif [[ $before == = ]]; then before=\${COMP_WORDS[COMP_CWORD-2]}; last=$((COMP_CWORD - 2)); fi
  _flistfs_at "$node"
  while ((at < last)); do
    word=\${COMP_WORDS[at]}
    if [[ $word == -* ]]; then
      if [[ \${COMP_WORDS[at+1]} == = ]]; then ((at += 2))
      elif [[ " $valued " == *" $word "* ]]; then ((at += 1)); fi
    elif [[ " $verbs " == *" $word "* ]]; then
      node=\${node:+$node }$word
      _flistfs_at "$node"
    else
      ((place += 1))
    fi
    ((at += 1))
  done
  if [[ " $valued " == *" $before "* ]]; then
    _flistfs_value "$node" "$before"
    _flistfs_fill "$kind"
  elif [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [[ $verbs ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur")
  else
    _flistfs_fill "\${places[place]}"
  fi
} && complete -F _flistfs flistfs
`
}

function verbCase(verb: CompletedVerb): string {
  const names = (options: typeof verb.options): string =>
    options.flatMap(({ short, long }) => (short === undefined ? [long] : [short, long])).join(' ')
  const verbs = verb.verbs.flatMap((below) => below.names).join(' ')
  const valued = names(verb.options.filter(({ value }) => value !== undefined && !value.optional))
  const places = verb.places.map(({ kind }) => quoted(word(kind))).join(' ')
  return (
    `    ${labels(verb)}) verbs=${quoted(verbs)} valued=${quoted(valued)} places=(${places})\n` +
    `      options=${quoted(names(verb.options))} ;;`
  )
}

/** A verb and its other names. */
function labels(verb: CompletedVerb): string {
  const above = verb.path.slice(0, -1)
  if (verb.path.length === 0) return "''"
  return verb.names.map((name) => quoted([...above, name].join(' '))).join(' | ')
}

function valueCases(verb: CompletedVerb): string[] {
  return verb.options.flatMap(({ short, long, value }) => {
    if (value === undefined || value.kind === 'none') return []
    const path = verb.path.join(' ')
    const names = short === undefined ? [long] : [short, long]
    return [`    ${names.map((name) => quoted(`${path}:${name}`)).join(' | ')}) kind=${quoted(word(value.kind))} ;;`]
  })
}

function word(kind: Kind): string {
  return typeof kind === 'string' ? kind : `=${kind.join(' ')}`
}
