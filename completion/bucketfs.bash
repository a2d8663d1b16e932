# bash completion for bucketfs and bucketctl. test/papers.py compares it with what both say with --help.

# The mount options. After = are the words that one takes; a word in capitals is what it takes instead.
_bucketfs_options() {
	echo "max_data_size=SIZE max_file_size=SIZE max_files=NUMBER max_total_size=SIZE accepted_file_types=LIST reserve=PERCENT
		collide=replace|refuse symlinks=off root=squash sync scrub=DAYS accept_loss device=NAME device_acl=LIST job_env=NAMES
		job_schema=DIR editors=NAMES io_uring=auto|on|off passthrough=auto|off give_way=auto|off log=stderr|syslog|FILE
		log_level=error|warning|info|debug trace config=NAME ro nosuid nodev noexec noatime"
}

# The option $1 is to get a value that begins with $2.
_bucketfs_value() {
	local option values=
	for option in $(_bucketfs_options); do
		[[ ${option%%=*} != "$1" ]] || values=${option#*=}
	done
	COMPREPLY=($(compgen -W "$(tr '|' '\n' <<<"$values" | grep -v '[A-Z]')" -- "$2"))
	case $values in
	NAME) # of a file, or of whatever only its user knows
		[[ $1 != config ]] || COMPREPLY=($(compgen -W "$(cd /etc/bucketfs 2>/dev/null && printf '%s\n' *.conf | sed 's/\.conf$//;/[*]/d')" -- "$2")) ;;
	DIR) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
	*FILE) [[ $2 != /* ]] || { compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$2"); } ;;
	esac
}

_bucketfs() {
	local cur=${COMP_WORDS[COMP_CWORD]} list=${COMP_WORDS[COMP_CWORD]} i=$COMP_CWORD first=
	COMPREPLY=()
	# `=` and `:` are words of their own to bash: the list of options is all words that they join.
	while ((i > 1)) && [[ ${COMP_WORDS[i]} == [=:] || ${COMP_WORDS[i-1]} == [=:] ]]; do
		list=${COMP_WORDS[--i]}$list
	done
	if [[ ${COMP_WORDS[i-1]} == -o ]]; then
		[[ $cur != [=:] ]] || cur=
		list=${list##*,}
		if [[ $list == *=* ]]; then
			_bucketfs_value "${list%%=*}" "$cur"
		else
			[[ $cur != *,* ]] || first=${cur%,*},
			COMPREPLY=($(compgen -P "$first" -W "$(_bucketfs_options | tr -s ' \t' '\n' | sed 's/=.*/=/')" -- "$list"))
			[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
		fi
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

# The options of the command $1. One that takes a value ends with =.
_bucketctl_options() {
	case $1 in
	get) echo "--json -r --raw" ;;
	set) echo "--replace -s --string -q --quiet --json" ;;
	unset) echo "-q --quiet --json" ;;
	fetch) echo "-s= --sync= -g= --glob= -d= --data= -n --dry-run --strict --json" ;;
	store) echo "-s= --sync= -g= --glob= -d= --data= -n --dry-run --strict --json -L --dereference" ;;
	wait) echo "-k= --key= -f= --file= -t= --timeout= --json" ;;
	create) echo "-t= --title= --icon= --notes= --enable --disable -i= --in= -d= --data= --json" ;;
	update) echo "-t= --title= --icon= --notes= --enable --disable --json" ;;
	list) echo "-l --long --json" ;;
	rm) echo "-r --recursive -f --force --json" ;;
	delete) echo "-r --recursive --json" ;;
	empty) echo "-d --data -f --files --json" ;;
	schema) echo "-d= --data= --json" ;;
	why) echo "-n= --number= --json" ;;
	check) echo "-d --data -r --repair --json" ;;
	edit | info | history | undo | acl | limits | cp) echo "--json" ;;
	esac
}

# The value of the option $1 of the command $2, which begins with $3. False: that option takes no value.
_bucketctl_value() {
	[[ " $(_bucketctl_options "$2") " == *" $1= "* ]] || return 1
	case $2:$1 in
	create:--data | create:-d) COMPREPLY=() ;;
	*:--sync | *:-s) COMPREPLY=($(compgen -W "data files data_and_files" -- "$3")) ;;
	*:--data | *:-d) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$3") ;;
	*:--in | *:-i) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$3") ;;
	*) COMPREPLY=() ;;
	esac
	return 0
}

_bucketctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} i
	local commands="get set unset edit fetch store wait info list create update delete empty history undo acl limits schema cp rm why check help"
	local args=()
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "$commands -h --help -V --version" -- "$cur"))
		return
	fi
	# --sync=data is three words to bash.
	if [[ $prev == --* && $cur == = ]]; then
		cur=
	elif [[ $prev == = && ${COMP_WORDS[COMP_CWORD-2]} == --* ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	_bucketctl_value "$prev" "$command" "$cur" && return
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(_bucketctl_options "$command" | tr -d =) -h --help" -- "$cur"))
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] || args+=("${COMP_WORDS[i]}")
	done
	case $command:${#args[@]} in
	help:*) COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
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
