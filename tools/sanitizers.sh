# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Settings of the sanitizers for script/test --preset asan. Reports go to files, for those of a
# worker far down the process tree must not be lost; a file that is left over is a failure.
sanitizer_logs=

# use_sanitizers PRESET BUILD_FOLDER
use_sanitizers() {
    if [ "$1" != asan ]; then return; fi
    sanitizer_logs="$2/sanitizer"
    rm -rf "$sanitizer_logs"
    mkdir -p "$sanitizer_logs"
    local log="log_path='$sanitizer_logs/report':log_exe_name=1"
    export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1:$log"
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:$log"
    export LSAN_OPTIONS="suppressions='$PWD/tools/lsan.supp':print_suppressions=0"
}

# Counts each new report as a failure of the suite that just ran, and shows it.
check_sanitizer_reports() {
    if [ -z "$sanitizer_logs" ]; then return; fi
    local report
    for report in "$sanitizer_logs"/report*; do
        if [ -s "$report" ]; then
            add_failure "sanitizer report in suite $1" "$(head -n 80 "$report")"
        fi
        rm -f "$report"
    done
}
