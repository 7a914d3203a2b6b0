# Written by "zmnextctl completion bash", from its options; a test holds it to them.
_zmnextctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb= words= files= i
    local common='--help --json --api --config --token-file'
    COMPREPLY=()
    case $previous in
        --config|--token-file|--zm-conf) files=1 ;;
        --api|--monitor|--since|--limit|--count|--interval|--wait|--days|--seconds) return ;;
        *)
            for ((i = 1; i < COMP_CWORD; i++)); do
                case ${COMP_WORDS[i]} in
                    --config|--token-file|--zm-conf|--api|--monitor|--since|--limit|--count|--interval|--wait|--days|--seconds) ((i++)) ;;
                    -*) ;;
                    *) verb=${COMP_WORDS[i]}; break ;;
                esac
            done
            case $verb in
                '') words="$common status monitors start stop restart reload hold release pipeline why logs events watch reconcile handoff recover fsck doctor try check-config" ;;
                status) words="$common" ;;
                monitors) words="$common" ;;
                start) words="$common" ;;
                stop) words="$common" ;;
                restart) words="$common" ;;
                reload) words="$common" ;;
                hold) words="$common" ;;
                release) words="$common" ;;
                pipeline) words="$common --diff" ;;
                why) words="$common" ;;
                logs) words="$common" ;;
                events) words="$common --monitor --since --limit --follow --count" ;;
                watch) words="$common --interval --count" ;;
                reconcile) words="$common" ;;
                handoff) words="$common --wait" ;;
                recover) words="$common --dry-run --days --force" ;;
                fsck) words="$common --zm-conf" ;;
                doctor) words="$common --zm-conf" ;;
                try) words="$common --seconds --zm-conf" ;;
                check-config) words="$common" files=1 ;;
            esac
            ;;
    esac
    if [[ -n $files && $cur != -* ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    fi
}
complete -F _zmnextctl zmnextctl
