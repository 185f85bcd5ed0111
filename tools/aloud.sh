#!/bin/bash
# Run a command, and say every half minute that it still runs: aloud.sh NAME COMMAND [ARGUMENT ...]
name=$1
shift
"$@" &
command=$!
trap 'kill "$command" 2>/dev/null' EXIT INT TERM
(
    for ((seconds = 30; ; seconds += 30)); do
        sleep 30 >/dev/null 2>&1 || exit
        kill -0 "$command" 2>/dev/null || exit
        echo "    $name: $seconds s" >&2
    done
) &
clock=$!
wait "$command"
code=$?
kill "$clock" 2>/dev/null
trap - EXIT
exit "$code"
