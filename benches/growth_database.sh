#!/bin/sh
# How commands grow with what a database has: benches/growth_database.sh target/release/recount postgres://…/postgres [SIZES…]
# The server is one to throw away, on this machine, and the role its superuser: a database is made on it and dropped. First as many
# wrong rows are corrected and put back as the size says, of runs of 64 miners; then as many runs of four miners are read. Prints a row
# of the table in docs/performance.md for each command and size: seconds by the clock, seconds of the processor, of recount and of the
# server's sessions, and peak memory of recount. The processor's are the ones to compare on a machine that has other work.
set -eu
recount=$(realpath "$1") server=$2
shift 2
sizes=${*:-1250 2500 5000 10000}
home=$(mktemp -d)
database=recount_growth_$$
sql() { psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --dbname "$1" --command "$2"; }
url=$(echo "$server" | sed "s|/[^/]*\$|/$database|")
trap 'rm -rf "$home"; sql "$server" "DROP DATABASE IF EXISTS $database" 2>/dev/null' EXIT
cd "$home"

# Ticks of the processor of all sessions that have ended: the postmaster has waited for them.
server_ticks() {
    sql "$server" "SELECT (string_to_array(stat, ' '))[16]::int8 + (string_to_array(stat, ' '))[17]::int8
                   FROM pg_read_file('/proc/' || split_part(pg_read_file('postmaster.pid'), E'\n', 1) || '/stat') stat"
}

# $1: what; $2: the size; then the command, which may find differences.
measured() {
    what=$1 size=$2 before=$(server_ticks) status=0
    shift 2
    /usr/bin/time -f '%e %U %S %M' -o taken "$recount" "$@" >/dev/null || status=$?
    [ "$status" -le 1 ] || exit "$status"
    # The last session may still be going away.
    sleep 0.3
    after=$(server_ticks)
    tail -n 1 taken | awk -v what="$what" -v size="$size" -v ticks=$((after - before)) -v hertz="$(getconf CLK_TCK)" '{
        cpu = $2 + $3 + ticks / hertz
        printf "| %s | %d | %.2f | %.2f | %.2f | %.2f | %.0f |\n", what, size, $1, $2 + $3, ticks / hertz, 1000 * cpu / size, $4 / 1000 }'
}

# A validator of as many runs and miners.
filled() {
    sql "$server" "DROP DATABASE IF EXISTS $database" 2>/dev/null
    sql "$server" "CREATE DATABASE $database"
    "$recount" migrate --quiet --standalone --database-url "$url" >/dev/null
    "$recount" generate --quiet --seed 1 --no-components --leads 24 --runs "$1" --miners "$2" --database-url "$url" >/dev/null
    sql "$url" ANALYZE
}

echo '| what | runs or rows | s | CPU s | server CPU s | CPU ms each | peak MB |'
echo '| --- | ---: | ---: | ---: | ---: | ---: | ---: |'
for size in $sizes; do
    filled $((size / 50 + 3)) 64
    # Of rows that can be checked: their miners were scored.
    sql "$url" "UPDATE weather_forecast_stats SET era5_completeness = 0.125 WHERE id IN (SELECT id FROM weather_forecast_stats WHERE era5_combined_score > 0 ORDER BY id LIMIT $size)"
    measured 'diff --out' "$size" diff "$url" --out differs --expected-leads 24
    measured 'apply' "$size" apply differs --database-url "$url" --max-fraction 1
    measured 'undo' "$size" undo --last --database-url "$url"
    measured 'reconcile --apply' "$size" reconcile "$url" --expected-leads 24 --apply --max-fraction 1
    rm -rf differs
done
for size in $sizes; do
    filled "$size" 4
    measured 'export' "$size" export "$url" --out exported
    rm -rf exported
    measured 'reconcile' "$size" reconcile "$url" --expected-leads 24
done
