# SPDX-License-Identifier: BSD-3-Clause
# Completion of attn-bench in bash: what to choose from is what `attn-bench COMMAND --help` says.
_attn_bench() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local commands="sweep compare roofline model machine explain diff" help choices
    case " $commands " in
    *" $command "*) ;;
    *) command=sweep ;;
    esac
    help=$("${COMP_WORDS[0]}" "$command" --help 2>/dev/null)
    if ((COMP_CWORD == 1)) && [[ $word != -* ]]; then
        choices=$commands
    elif [[ $word == -* ]]; then
        choices=$(sed -n 's/^  \(--[a-z-]*\).*/\1/p' <<<"$help")
    elif [[ $before == model ]]; then
        choices=$(sed -n 's/^  model .*: //p' <<<"$help" | tr ',' ' ')
    else
        choices=$(sed -n "s/^  $before \([a-z0-9]*,[a-z0-9,]*\).*/\1/p" <<<"$help" | tr ',' ' ')
    fi
    if [[ $before == --@(json|csv|svg|html) || $command == diff ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
    fi
}
complete -F _attn_bench attn-bench
