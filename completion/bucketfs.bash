# bash completion for bucketfs and bucketctl

_bucketfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word first=
	local options="max_data_size= max_file_size= max_files= max_total_size= accepted_file_types= reserve= root=squash sync accept_loss
		io_uring=auto io_uring=on io_uring=off passthrough=auto passthrough=off give_way=auto give_way=off log=stderr log=syslog log_level=error log_level=warning log_level=info
		log_level=debug trace ro nosuid nodev noexec noatime"
	COMPREPLY=()
	# `=` is a word break: the word before it is the option's name.
	if [[ $cur == = || $prev == = ]]; then
		[[ $cur == = ]] && word=$prev cur= || word=${COMP_WORDS[COMP_CWORD-2]}
		case ${word##*,} in
		root) COMPREPLY=($(compgen -W "squash" -- "$cur")) ;;
		io_uring) COMPREPLY=($(compgen -W "auto on off" -- "$cur")) ;;
		passthrough | give_way) COMPREPLY=($(compgen -W "auto off" -- "$cur")) ;;
		log) COMPREPLY=($(compgen -W "stderr syslog" -- "$cur")) ;;
		log_level) COMPREPLY=($(compgen -W "error warning info debug" -- "$cur")) ;;
		esac
	elif [[ $prev == -o ]]; then
		# The last of a list that commas separate.
		[[ $cur != *,* ]] || first=${cur%,*},
		COMPREPLY=($(compgen -P "$first" -W "$options" -- "${cur##*,}"))
		[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "-o -f -d -h --help -V --version" -- "$cur"))
	else
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
	fi
}

# The keys of the bucket at the path $1 that begin with $2.
_bucketctl_keys() {
	bucketctl get "$1" 2>/dev/null | sed -n 's/^  "\([A-Za-z0-9_.-]*\)": .*/\1/p' | grep -F -- "$2"
}

# What the option $1 of the command $2 takes; false: it takes nothing.
_bucketctl_value() {
	local cur=$3
	case $1 in
	--sync | -s) [[ $2 == fetch || $2 == store ]] && COMPREPLY=($(compgen -W "data files data_and_files" -- "$cur")) ;;
	--data | -d)
		[[ $2 == fetch || $2 == store || $2 == schema ]] || return 1
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	--in | -i) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--glob | -g | --file | --key | -k | --timeout | --title | --icon | --notes | --number | -n | -t)
		[[ $1 != -n || $2 == why ]] || return 1
		COMPREPLY=()
		;;
	*) return 1 ;;
	esac
}

_bucketctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} options= i
	local commands="get set unset edit fetch store wait info list create update delete empty history undo acl limits schema why check help"
	local args=()
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "$commands --help --version" -- "$cur"))
		return
	fi
	_bucketctl_value "$prev" "$command" "$cur" && return
	case $command in
	get) options="--raw --json" ;;
	set) options="--replace --string --quiet --json" ;;
	unset) options="--quiet --json" ;;
	fetch | store) options="--sync --glob --data --dry-run --json" ;;
	wait) options="--key --file --timeout --json" ;;
	create) options="--title --icon --notes --enable --disable --in --json" ;;
	update) options="--title --icon --notes --enable --disable --json" ;;
	delete) options="--recursive" ;;
	empty) options="--data --files" ;;
	why) options="--number --json" ;;
	schema) options="--data --json" ;;
	check) options="--data --repair --json" ;;
	help) COMPREPLY=($(compgen -W "$commands" -- "$cur")) && return ;;
	*) options="--json" ;;
	esac
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$options --help" -- "$cur"))
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] || args+=("${COMP_WORDS[i]}")
	done
	case $command:${#args[@]} in
	acl:0) COMPREPLY=($(compgen -W "show grant revoke inherit" -- "$cur")) ;;
	acl:2) COMPREPLY=($(compgen -W "create read edit delete admin" -- "$cur")) ;;
	acl:3)
		case $prev in
		: | user | group) ;;
		*) COMPREPLY=($(compgen -W "user: group: owner" -- "$cur")) && compopt -o nospace ;;
		esac
		;;
	limits:0) COMPREPLY=($(compgen -W "show set" -- "$cur")) ;;
	limits:[2-9])
		COMPREPLY=($(compgen -S = -W "max_data_size max_file_size max_files max_total_size accepted_file_types" -- "$cur"))
		compopt -o nospace
		;;
	schema:0) COMPREPLY=($(compgen -W "show set remove check" -- "$cur")) ;;
	get:[1-9]* | unset:[1-9]*) COMPREPLY=($(compgen -W "$(_bucketctl_keys "${args[0]}" "$cur")" -- "$cur")) ;;
	*)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}

complete -F _bucketfs bucketfs mount.fuse.bucketfs
complete -F _bucketctl bucketctl
