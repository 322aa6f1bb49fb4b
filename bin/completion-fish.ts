import {
  allVerbs,
  type CompletedOption,
  type CompletedVerb,
  type Kind,
  MOUNTS_COMMAND,
  quoted,
} from './completion-model.ts'

/** For fish 3 and newer. */
export function fishCompletion(program: CompletedVerb): string {
  const verbs = allVerbs(program)
  const valued = verbs.flatMap(({ options }) =>
    options.flatMap(({ short, long, value }) =>
      value === undefined || value.optional ? [] : short === undefined ? [long] : [short, long],
    ),
  )
  return `# Completion of flistfs for fish, made by \`flistfs completion fish\`.

# The words so far that are neither options nor their values.
function __flistfs_words
    set -l skip 0
    set -l words (commandline -opc)
    for word in $words[2..-1]
        if test $skip -eq 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- $word ${[...new Set(valued)].join(' ')}
            and set skip 1
        else
            echo $word
        end
    end
end

# Whether these verbs were said, after how many words follow them: that many, \`2+\` at least, or any.
function __flistfs_at
    set -l words (__flistfs_words)
    set -l verbs $argv[2..-1]
    set -l count (count $verbs)
    test (count $words) -ge $count
    or return 1
    if test $count -gt 0
        test "$words[1..$count]" = "$verbs"
        or return 1
    end
    set -l after (math (count $words) - $count)
    switch $argv[1]
        case any
            true
        case '*+'
            test $after -ge (string trim -c + $argv[1])
        case '*'
            test $after -eq $argv[1]
    end
end

function __flistfs_mounts
    for line in (${MOUNTS_COMMAND.replaceAll('\\', String.raw`\\`)})
        printf '%b\\n' $line
    end
end

complete -c flistfs -f
${verbs.flatMap(verbLines).join('\n')}
`
}

function verbLines(verb: CompletedVerb): string[] {
  const spellings =
    verb.path.length === 0 ? [''] : verb.names.map((name) => ['', ...verb.path.slice(0, -1), name].join(' '))
  return spellings.flatMap((path) => {
    const condition = (place: string): string => `complete -c flistfs -n ${quoted(`__flistfs_at ${place}${path}`)}`
    return [
      ...verb.verbs.flatMap((below) =>
        below.names.map((name) => `${condition('0')} -a ${name} -d ${quoted(below.description)}`),
      ),
      ...verb.options.map((option) => `${condition(path === '' ? '0' : 'any')} ${optionWords(option)}`),
      ...verb.places.flatMap(({ kind, variadic }, nth) =>
        kind === 'none' ? [] : [`${condition(`${nth}${variadic ? '+' : ''}`)} ${fill(kind)}`],
      ),
    ]
  })
}

function optionWords({ short, long, description, value }: CompletedOption): string {
  const names = `${short === undefined ? '' : `-s ${short.slice(1)} `}-l ${long.slice(2)}`
  const kind = value === undefined || value.optional ? '' : value.kind === 'none' ? ' -x' : ` -r ${fill(value.kind)}`
  return `${names} -d ${quoted(description)}${kind}`
}

function fill(kind: Kind): string {
  if (typeof kind !== 'string') return `-f -a ${quoted(kind.join(' '))}`
  return { file: '-F', folder: "-f -a '(__fish_complete_directories)'", mount: "-f -a '(__flistfs_mounts)'", none: '' }[
    kind
  ]
}
