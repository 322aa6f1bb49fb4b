# What bash offers for a line: capture.bash SCRIPT WORD... prints one word a line. The last word is the one to complete.
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_flistfs
((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
