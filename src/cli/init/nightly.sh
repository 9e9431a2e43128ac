#!/bin/sh
# A night of recount. It needs no environment: cron and systemd run it as it is.
PATH=/usr/local/bin:/usr/bin:/bin
cd @DIR@ || exit 2
# Two nights at a time would do the same work twice.
exec 9>nightly.lock
flock -n 9 || { echo "recount: the night before is still at work" >&2; exit 2; }
# DATABASE_URL, with the reader's password; only this user can read the file.
set -a; . ./recount.env; set +a
mkdir -p reports
@RECOUNT@ reconcile --quiet --format json --metrics recount.prom > reports/new.json
status=$?
case $status in
    0 | 1) mv reports/new.json "reports/$(date -u +%Y-%m-%d).json" ;;
    *) rm -f reports/new.json ;;
esac
case $status in
    0) ;;
    1) echo "recount: stored rollups differ, see the newest file in @DIR@/reports" ;;
    3) echo "recount: a guard refused to go on: look before it is run again" >&2 ;;
    *) echo "recount: failed with status $status" >&2 ;;
esac
# Reports of the last 30 nights are kept.
find reports -name '*.json' -mtime +30 -delete
exit $status
