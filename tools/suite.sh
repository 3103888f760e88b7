# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Running and counting tests, for script/test. Everything is counted in single tests: those of
# busted and cmocka, inputs of the fuzz corpora, checks of script/lint. What cannot be counted
# (a crash, no test at all, a suite without files) is one failure.

passed=0
failed=0
skipped=0
file_limit_s=600  # for one test file; above it, something hangs

# add PASSED FAILED SKIPPED
add() {
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
}

# Counts one failure and shows the output it is about.
add_failure() {
    printf 'FAILED: %s\n' "$1"
    if [ $# -gt 1 ]; then printf '%s\n' "$2"; fi
    add 0 1 0
}

# Prints the test files of a folder that the filter lets through.
test_files() {
    find "$1" -name "$2" 2>/dev/null | sort | grep -F -e "${filter:-}" || true
}

build_all() {
    local started="$SECONDS" output
    echo "== build ($1)"
    if ! output="$(script/build "$1" all bench 2>&1)"; then
        printf '%s\n' "$output" | tail -n 60
        add_failure "build of the preset $1"
        finish
    fi
    echo "   built in $((SECONDS - started)) s"
}

# Runs a command with the time limit; sets output and status.
run_limited() {
    status=0
    output="$(timeout --kill-after=10 "$file_limit_s" "$@" 2>&1 </dev/null)" || status=$?
    if [ "$status" -eq 124 ]; then
        output="$output"$'\n'"no end after $file_limit_s s"
    fi
}

# Judges one finished command: counts as printed, or one failure where they cannot be right.
# judge NAME PASSED FAILED SKIPPED; uses output and status
judge() {
    local name="$1" good="$2" bad="$3" left="$4"
    if [ "$bad" -eq 0 ] && [ "$status" -ne 0 ]; then
        add "$good" 0 "$left"
        add_failure "$name ended with status $status" "$output"
    elif [ $((good + bad + left)) -eq 0 ]; then
        add_failure "$name holds no test" "$output"
    else
        if [ "$bad" -gt 0 ]; then printf 'FAILED: %s\n%s\n' "$name" "$output"; fi
        add "$good" "$bad" "$left"
    fi
    if [ "$left" -gt 0 ]; then bad="$bad failed, $left skipped"; else bad="$bad failed"; fi
    echo "   $name: $good passed, $bad"
    if [ "$left" -gt 0 ]; then skipped_names <<<"$output" | sed 's/^/      skipped: /'; fi
}

# The names, with their reasons, of what busted or cmocka skipped.
skipped_names() {
    awk '/^Pending (->|→) / { getline; print } /^(not )?ok [0-9]+ # SKIP/ { sub(/^.*# SKIP */, ""); print }'
}

# How many lines of output match.
count_lines() {
    grep -c -a -E "$1" <<<"$output" || true
}

# run_c_test NAME EXECUTABLE: a cmocka program
run_c_test() {
    if [ ! -x "$2" ]; then
        add_failure "$1: $2 was not built"
        return
    fi
    run_limited env CMOCKA_MESSAGE_OUTPUT=TAP "$2"
    # cmocka writes a skipped test as `not ok 3 # SKIP name`.
    judge "$1" "$(count_lines '^ok [0-9]+ - ')" "$(count_lines '^not ok [0-9]+ - ')" \
        "$(count_lines '^(not )?ok [0-9]+ # SKIP')"
}

# run_spec NAME COMMAND...: busted, whose summary is
# "1 success / 0 failures / 0 errors / 0 pending : 0.1 seconds"
run_spec() {
    local name="$1" summary
    shift
    run_limited "$@"
    summary="$(grep -a -oE '[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors? / [0-9]+ pending' \
        <<<"$output" | tail -n 1 | tr -dc '0-9/ ')" || true
    if [ -z "$summary" ]; then
        add_failure "$name: no summary, status $status" "$output"
        return
    fi
    local good bad errors left
    IFS=/ read -r good bad errors left <<<"${summary// /}"
    judge "$name" "$good" "$((bad + errors))" "$left"
}

# run_replay TARGET EXECUTABLE CORPUS
run_replay() {
    if [ ! -x "$2" ]; then
        add_failure "$1: $2 was not built"
        return
    fi
    run_limited "$2" "$3"
    local good bad
    read -r good _ bad _ <<<"$(tail -n 1 <<<"$output")"
    if [[ "$good $bad" =~ ^[0-9]+\ [0-9]+$ ]]; then
        judge "fuzz corpus $1" "$good" "$bad" 0
    else
        add_failure "fuzz corpus $1: no summary, status $status" "$output"
    fi
}

# A suite that counts nothing is a failure, unless a filter left nothing over.
run_suite() {
    local started="$SECONDS" before="$((passed + failed + skipped))"
    echo "== $1"
    "$1_suite"
    check_sanitizer_reports "$1"
    if [ $((passed + failed + skipped)) -eq "$before" ] && [ -z "${filter:-}" ]; then
        add_failure "suite $1 has no tests"
    fi
    echo "   $1 took $((SECONDS - started)) s"
}

finish() {
    if [ $((passed + failed + skipped)) -eq 0 ]; then add_failure 'nothing ran'; fi
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    exit "$((failed > 0))"
}
