# What zsh offers for a line: capture.zsh SCRIPT LINE prints one word a line. Asked of a zsh at a terminal of its own, because
# completion works nowhere else.
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner 'PROMPT=; autoload -Uz compinit; compinit -u -d "$HOME/.zcompdump"; source '"${(q)1}"'
zstyle ":completion:*" insert-tab false
bindkey "^I" complete-word
comppostfuncs=(finish)
finish() { print -r -- "END""OF"; exit }
compadd() {
  if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
    local -a hits
    builtin compadd -A hits "$@"
    local hit
    for hit in $hits; do print -r -- "OFFER"":$hit"; done
  fi
  builtin compadd "$@"
}
print REA""DY'
while zpty -r inner line; do [[ $line == *READY* ]] && break; done
zpty -w -n inner "$2"$'\t'
while zpty -r inner line; do
  [[ $line == *OFFER:* ]] && print -r -- "${${line#*OFFER:}%%[$'\r\n']*}"
  [[ $line == *ENDOF* ]] && break
done
zpty -d inner
