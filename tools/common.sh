# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced first by every command in script/: strict mode, the root of the tree as the working
# directory, and --help, which prints the comment at the head of the command.
set -euo pipefail

command_path="$(cd "$(dirname "$0")" && pwd -P)/$(basename "$0")"
root="$(dirname "$(dirname "$command_path")")"
cd "$root"

# Prints the head comment of the command: from its fourth line to the first line that is no comment.
print_help() {
    sed -n '4,${/^#/!q;s/^# \{0,1\}//;p;}' "$command_path"
}

# Ends with status 2, the one for wrong use.
usage_error() {
    printf '%s: %s; see --help\n' "$(basename "$command_path")" "$1" >&2
    exit 2
}

say() {
    printf '%s\n' "$*" >&2
}

is_preset() {
    case "$1" in
        release | debug | asan | fuzz | coverage) return 0 ;;
        *) return 1 ;;
    esac
}

for argument in "$@"; do
    case "$argument" in
        -h | --help)
            print_help
            exit 0
            ;;
        --) break ;;
    esac
done
