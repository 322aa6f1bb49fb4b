import { allVerbs, type CompletedVerb, type Kind, MOUNTS_COMMAND, quoted } from './completion-model.ts'

/** For bash 4.4 and newer, without the package bash-completion. */
export function bashCompletion(program: CompletedVerb): string {
  return `# Completion of flistfs for bash, made by \`flistfs completion bash\`.

# What may stand at a verb: verbs below it, options, those of them with a value, and the kinds of its
# arguments and of any more of them.
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

# The words up to the cursor, as they were typed: bash takes them apart at colons and equals signs.
_flistfs_words() {
  local rest=$COMP_LINE word stripped
  words=()
  for word in "\${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    stripped=\${rest#"\${rest%%[![:blank:]]*}"}
    if [[ $stripped != "$rest" || \${#words[@]} == 0 ]]; then words+=("$word")
    else words[-1]+=$word; fi
    rest=\${stripped#"$word"}
  done
}

_flistfs() {
  local cur before node= verbs options valued more kind word piece=\${COMP_WORDS[COMP_CWORD]}
  local -a places words
  local at=1 place=0 last
  COMPREPLY=()
  _flistfs_words
  last=$((\${#words[@]} - 1))
  cur=\${words[last]} before=\${words[last-1]}
  if [[ $cur == --*=* ]]; then before=\${cur%%=*}; cur=\${cur#*=}; fi
  _flistfs_at "$node"
  while ((at < last)); do
    word=\${words[at]}
    if [[ $word == -* ]]; then
      if [[ " $valued " == *" $word "* ]]; then ((at += 1)); fi
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
    _flistfs_fill "\${places[place]-$more}"
  fi
  # bash puts them in the place of what is behind the last colon.
  if [[ $piece == [:=] ]]; then piece=; fi
  word=\${cur%"$piece"}
  COMPREPLY=("\${COMPREPLY[@]#"$word"}")
} && complete -F _flistfs flistfs
`
}

function verbCase(verb: CompletedVerb): string {
  const names = (options: typeof verb.options): string =>
    options.flatMap(({ short, long }) => (short === undefined ? [long] : [short, long])).join(' ')
  const verbs = verb.verbs.flatMap((below) => below.names).join(' ')
  const valued = names(verb.options.filter(({ value }) => value !== undefined && !value.optional))
  const places = verb.places.map(({ kind }) => quoted(word(kind))).join(' ')
  const last = verb.places.at(-1)
  const more = quoted(last?.variadic ? word(last.kind) : '')
  return (
    `    ${labels(verb)}) verbs=${quoted(verbs)} valued=${quoted(valued)} places=(${places}) more=${more}\n` +
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
