# What bash offers for a line: capture.bash SCRIPT reads the line and prints one word a line. Asked at the prompt of a bash of
# its own, because only there is a line taken apart as it is for who types. Behind these, the line that comes of it.
if [[ $- != *i* ]]; then
  export SCRIPT=$1
  # Out of the terminal's reach: it would be taken over.
  printf '%s\t\033lexit\n' "$(cat)" | setsid -w bash --noprofile --rcfile "$0" -i 3>&1 >/dev/null 2>&1
  exit
fi
PS1=
source "$SCRIPT"
asked() {
  _flistfs
  ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}" >&3
}
complete -F asked flistfs
bind 'set bell-style none' 2>/dev/null
bind -x '"\el": printf "=%s\n" "$READLINE_LINE" >&3; READLINE_LINE=' 2>/dev/null
