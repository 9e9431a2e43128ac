#!/bin/sh
# How commands grow with the runs of a history, from folders: benches/growth.sh target/release/recount [RUNS…]
# Prints a row of the table in docs/performance.md for each command and size: seconds by the clock and of the processor, milliseconds
# of the processor for a run, peak memory. The processor's are the ones to compare on a machine that has other work.
set -eu
recount=$(realpath "$1")
shift
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cd "$home"

# $1: what; $2: runs; then the command, which may find differences.
measured() {
    what=$1 runs=$2
    shift 2
    status=0
    /usr/bin/time -f '%e %U %S %M' -o taken "$@" >/dev/null || status=$?
    [ "$status" -le 1 ] || exit "$status"
    tail -n 1 taken | awk -v what="$what" -v runs="$runs" '{
        cpu = $2 + $3
        printf "| %s | %d | %.2f | %.2f | %.2f | %.0f |\n", what, runs, $1, cpu, 1000 * cpu / runs, $4 / 1000 }'
}

echo '| what | runs | s | CPU s | CPU ms a run | peak MB |'
echo '| --- | ---: | ---: | ---: | ---: | ---: |'
for runs in ${*:-1250 2500 5000 10000}; do
    measured 'generate, folder' "$runs" "$recount" generate --out "runs$runs" --runs "$runs" --miners 4 --leads 24 --seed 1 --drift 100
    measured 'reconcile, folder' "$runs" "$recount" reconcile "runs$runs" --expected-leads 24
    measured 'recompute, folder' "$runs" "$recount" recompute "runs$runs" --expected-leads 24 --out "rollups$runs"
    measured 'diff, folder' "$runs" "$recount" diff "runs$runs" --expected-leads 24 --out "diff$runs"
    measured 'archive, folder' "$runs" "$recount" archive "runs$runs" --expected-leads 24 --to "archive$runs"
    measured 'archive again, folder' "$runs" "$recount" archive "runs$runs" --expected-leads 24 --to "archive$runs"
    measured 'reconcile, archive' "$runs" "$recount" reconcile "archive$runs"
    measured 'verify, archive' "$runs" "$recount" verify "archive$runs"
    rm -rf "runs$runs" "rollups$runs" "diff$runs" "archive$runs"
done
