#!/bin/sh
# What `recount migrate --track-changes` costs who writes scores: benches/tracking.sh target/release/recount postgres://…/postgres [ROUNDS]
# The server is one to throw away, on this machine, and the role its superuser: two databases are made on it and dropped. One writer,
# the same statements to both in turn. Prints a row of the table in docs/operations.md for each way of writing: medians of the rounds
# of rows written per second, and of what the server's session took of a processor for a row. The latter is the one to trust on a
# machine that has other work. Whether each commit waits for the disk is the server's to say (`fsync`).
set -eu
recount=$(realpath "$1") server=$2 rounds=${3:-7}
home=$(mktemp -d)
name() { echo "recount_tracking_$1_$$"; }
url() { echo "$server" | sed "s|/[^/]*\$|/$(name "$1")|"; }
run() {
    database=$1
    shift
    psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --dbname "$database" "$@"
}
drop() { for which in plain tracked; do run "$server" --command "DROP DATABASE IF EXISTS $(name $which)" 2>/dev/null; done; }
trap 'rm -rf "$home"; drop' EXIT
cd "$home"

for which in plain tracked; do
    run "$server" --command "CREATE DATABASE $(name $which)"
    tracks=$([ $which = plain ] || echo --track-changes)
    "$recount" migrate --quiet --standalone $tracks --database-url "$(url $which)" >/dev/null
    "$recount" generate --quiet --seed 1 --runs 10 --miners 16 --leads 24,48 --database-url "$(url $which)" >/dev/null
    run "$(url $which)" --command 'VACUUM ANALYZE'
done

COLUMNS='response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level'
FIRST='SELECT id, run_id, miner_uid, miner_hotkey FROM weather_miner_responses ORDER BY id LIMIT 1'
run "$(url plain)" --command "$FIRST" >first
tr '|' ' ' <first >first.words
rows() { # $1: how many
    read -r response run_id miner hotkey <first.words
    seq 1 "$1" | awk -v r="$response" -v n="$run_id" -v m="$miner" -v h="$hotkey" -v q="'" '{
        printf "(%s, %s, %s, %s%s%s, %sera5_rmse%s, to_timestamp(1737331200 + %d), 0.5, 24, %st%s)\n", r, n, m, q, h, q, q, q, $1, q, q }'
}
INTO="INSERT INTO weather_miner_scores ($COLUMNS) VALUES"
rows 1000 | sed "s/^/$INTO /; s/\$/;/" >single.sql
{ for i in 1 2; do echo 'BEGIN;'; rows 1000 | sed "s/^/$INTO /; s/\$/;/"; echo 'COMMIT;'; done; } >statements.sql
{ for i in $(seq 20); do echo "$INTO"; rows 1000 | sed '$!s/$/,/; $s/$/;/'; done; } >batches.sql
{ for i in $(seq 20); do
      echo "COPY weather_miner_scores ($COLUMNS) FROM STDIN;"
      read -r response run_id miner hotkey <first.words
      seq 1 1000 | awk -v r="$response" -v n="$run_id" -v m="$miner" -v h="$hotkey" -v OFS='\t' '{
          print r, n, m, h, "era5_rmse", "2025-01-20 00:00:00+00", 0.5, 24, "t" }'
      printf '\\.\n'
  done; } >copies.sql

# $1: plain or tracked; $2: the file. Prints seconds by the clock, and ticks of the processor in the server's session.
measured() {
    {
        echo 'CREATE TEMP TABLE began AS SELECT clock_timestamp() AS at, pg_read_file('"'/proc/self/stat'"') AS stat;'
        cat "$2"
        echo "SELECT extract(epoch FROM clock_timestamp() - at), now.ticks - was.ticks FROM began,
              LATERAL (SELECT (string_to_array(stat, ' '))[14]::int + (string_to_array(stat, ' '))[15]::int AS ticks) was,
              LATERAL (SELECT (string_to_array(pg_read_file('/proc/self/stat'), ' '))[14]::int
                            + (string_to_array(pg_read_file('/proc/self/stat'), ' '))[15]::int AS ticks) now;"
    } >measure.sql
    run "$(url "$1")" --field-separator=' ' --file measure.sql
}

for round in $(seq 0 "$rounds"); do
    for how in single statements batches copies; do
        for which in plain tracked; do
            run "$server" --command CHECKPOINT
            # The round before the first warms the caches.
            [ "$round" = 0 ] && measured "$which" "$how.sql" >/dev/null || measured "$which" "$how.sql" | sed "s/^/$how $which /" >>taken
        done
    done
done

run "$server" --command "SELECT 'fsync = ' || current_setting('fsync') || ', PostgreSQL ' || current_setting('server_version') || ', $rounds rounds'"
echo '| one writer of scores | rows/s | tracked | more time | server CPU µs a row | tracked | more |'
echo '| --- | ---: | ---: | ---: | ---: | ---: | ---: |'
python3 - "$(getconf CLK_TCK)" <<'END'
import statistics, sys
taken = {}
for line in open("taken"):
    how, which, seconds, ticks = line.split()
    taken.setdefault(how, {}).setdefault(which, []).append((float(seconds), int(ticks) / int(sys.argv[1])))
names = {"single": (1000, "one row a transaction"), "statements": (2000, "one row a statement, 1,000 a transaction"),
         "batches": (20000, "1,000 rows a statement (`INSERT … VALUES`)"), "copies": (20000, "1,000 rows a `COPY`")}
for how, (rows, name) in names.items():
    median = lambda which, at: statistics.median(round[at] for round in taken[how][which]) / rows
    share = lambda at: f"{100 * (median('tracked', at) / median('plain', at) - 1):+.1f} %"
    seconds = [f"{1 / median(which, 0):,.0f}" for which in ("plain", "tracked")]
    cpu = [f"{1e6 * median(which, 1):.1f}" for which in ("plain", "tracked")]
    print(f"| {name} | {seconds[0]} | {seconds[1]} | {share(0)} | {cpu[0]} | {cpu[1]} | {share(1)} |")
END
