#!/bin/sh
# What jobs take where a history is far out of the ordinary: benches/bounds.sh target/release/recount postgres://…/postgres [CASE…]
# The server is one to throw away: databases are made on it and dropped. Prints a row of the table in docs/performance.md for each
# case: seconds and peak memory of recount alone, and what the job had to say, so that a case that misses its aim shows.
set -eu
recount=$(realpath "$1") server=$2
shift 2
home=$(mktemp -d)
database=recount_bounds_$$
sql() { psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 --dbname "$1" --command "$2" >/dev/null; }
url=$(echo "$server" | sed "s|/[^/]*\$|/$database|")
trap 'rm -rf "$home"; sql "$server" "DROP DATABASE IF EXISTS $database" 2>/dev/null' EXIT
cd "$home"

# $1: the case; then the command, which may find differences.
measured() {
    case=$1
    shift
    status=0
    /usr/bin/time -f '%e %M' -o taken "$recount" "$@" --format json >said || status=$?
    said=$(python3 -c '
import json
said = json.load(open("said"))
differ = sum(table["rows"].get(how, 0) for table in said["tables"].values() for how in ("drift", "missing", "extra"))
cells = sum(table["cells"].get(how, 0) for table in said["tables"].values() for how in ("drift", "missing", "extra"))
print(sum(said["snapshot"]["rows"].values()), "rows,", sum(said["findings"].values()), "findings,", cells, "cells of", differ, "rows differ")')
    tail -n 1 taken | awk -v case="$case" -v status="$status" -v said="$said" -v command="$1" '{ printf "| %s | `%s` | %.1f | %.0f | %d | %s |\n", case, command, $1, $2 / 1000, status, said }'
}

folder() { "$recount" generate --quiet --seed 1 --no-components --out folder "$@" >/dev/null; }

# A small validator in a database, whose first response is then made to be what the case asks for.
filled() {
    sql "$server" "DROP DATABASE IF EXISTS $database"
    sql "$server" "CREATE DATABASE $database"
    "$recount" migrate --quiet --standalone --database-url "$url" >/dev/null
    "$recount" generate --quiet --seed 1 --no-components --runs 2 --miners 3 --leads 24 --database-url "$url" >/dev/null
    sql "$url" "$1"
    sql "$url" "ANALYZE"
}

FIRST_ID='(SELECT id, run_id FROM weather_miner_responses ORDER BY id LIMIT 1)'
FIRST='(SELECT * FROM weather_miner_responses ORDER BY id LIMIT 1) r'
scores() {
    echo "INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level)
          SELECT r.id, r.run_id, r.miner_uid, r.miner_hotkey, $1, r.response_time + n * interval '1 us', $2, $3, NULL FROM $FIRST, generate_series(1, $4) n"
}

echo '| case | command | s | peak MB | status | said |'
echo '| --- | --- | ---: | ---: | ---: | --- |'
for case in ${*:-runs miners findings differences repeated steps errors leads}; do
    rm -rf folder
    case $case in
    runs) folder --runs 5000 --miners 2 --leads 24
        measured '5,000 tiny runs' reconcile folder ;;
    miners) filled "ALTER TABLE node_table DROP CONSTRAINT node_table_uid_check;
                    INSERT INTO node_table (uid, hotkey) SELECT n, 'hotkey ' || n FROM generate_series(256, 5252) n;
                    INSERT INTO weather_miner_responses (run_id, miner_uid, miner_hotkey, response_time, status, verification_passed)
                    SELECT r.run_id, n, 'hotkey ' || n, r.response_time, r.status, r.verification_passed FROM $FIRST, generate_series(256, 5252) n;
                    INSERT INTO weather_miner_scores (response_id, run_id, miner_uid, miner_hotkey, score_type, calculation_time, score, lead_hours, variable_level)
                    SELECT r.id, r.run_id, r.miner_uid, r.miner_hotkey, s.score_type, s.calculation_time, s.score / (1 + r.miner_uid), s.lead_hours, s.variable_level
                    FROM weather_miner_responses r, weather_miner_scores s, $FIRST_ID f WHERE r.run_id = f.run_id AND r.miner_uid > 255 AND s.response_id = f.id"
        measured 'a run with 5,000 miners' reconcile "$url" ;;
    differences) folder --runs 1000 --miners 200 --leads 24
        # By other rules than those of the stored rows, most of these are wrong.
        measured '10⁶ differences' reconcile folder --expected-leads 24,48 --era5-weight 0.9
        measured '10⁶ differences' diff folder --out differences --expected-leads 24,48 --era5-weight 0.9 ;;
    leads) folder --runs 5 --miners 20 --leads "$(seq -s, 1 1000)"
        measured '1,000 expected leads' reconcile folder --expected-leads "$(seq -s, 1 1000)" ;;
    findings) filled "$(scores "'era5_rmse'" "'NaN'" n 1000000)"
        measured '10⁶ findings' reconcile "$url" ;;
    repeated) filled "$(scores "'era5_rmse'" 0.5 24 2000000)"
        measured 'a response with 2 M repeated scores' reconcile "$url" ;;
    # Without the triggers and foreign keys, which would take ten minutes.
    steps) filled "SET session_replication_role = replica; INSERT INTO weather_forecast_steps (run_id, miner_uid, miner_hotkey, step_name, substep, lead_hours, status, started_at, completed_at)
                   SELECT r.run_id, r.miner_uid, r.miner_hotkey, 'era5', 'score', 1000 + n, 'succeeded', r.response_time, r.response_time FROM $FIRST, generate_series(1, 5000000) n"
        measured '5 M steps in a run' reconcile "$url" ;;
    errors) filled "UPDATE weather_miner_responses SET status = 'failed', error_message = repeat('failed at https://10.0.0.1/' || id || ' ', 35000)"
        measured 'errors of 1 MB' reconcile "$url" ;;
    esac
done
