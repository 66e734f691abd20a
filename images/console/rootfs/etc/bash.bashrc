# Every interactive bash reads this: a login, `bash`, `sudo -s`.
case $- in
*i*) ;;
*) return ;;
esac
PS1='[\u@\h \W]\$ '
shopt -s checkwinsize histappend
alias ls='ls --color=auto'
alias grep='grep --color=auto'
if [ -z "$BASH_COMPLETION_VERSINFO" ] && [ -r /usr/share/bash-completion/bash_completion ]; then
    . /usr/share/bash-completion/bash_completion
fi
