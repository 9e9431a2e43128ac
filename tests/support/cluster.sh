# Keeps one throw-away PostgreSQL server for a test process.
#
#   sh -c "$(cat cluster.sh)" sh BIN FOLDER PORT PASSWORD
#
# Standard input is a pipe that the test process holds: each line is an order, and each order is answered by a line. When the pipe
# closes, however the test process ended, the server is stopped and the folder removed. All steps run one after the other in here,
# so nothing is left behind when the test process is killed half way through the start.
bin=$1 folder=$2 port=$3 password=$4
data=$folder/data

# The end of the test process must reach us as end of file, never as a signal or a broken pipe.
trap '' HUP INT TERM PIPE
cd "$folder" || exit 1
exec 2>>"$folder/cluster.log"

# PostgreSQL refuses to run as root. The first of these that is there does the change of user.
if [ "$(id -u)" != 0 ]; then
    as=
elif command -v setpriv >/dev/null; then
    as='setpriv --reuid=postgres --regid=postgres --init-groups'
elif command -v runuser >/dev/null; then
    as='runuser -u postgres --'
else
    as='su -s /bin/sh postgres -c "exec \"\$0\" \"\$@\"" --'
fi
as_postgres() { eval "$as"' "$@"' </dev/null >>"$folder/cluster.log" 2>&1; }

answer() { echo "$1" 2>/dev/null || true; }
try() { if "$@"; then answer ok; else answer failed; fi; }

init() {
    echo "$password" >"$folder/password"
    [ "$(id -u)" != 0 ] || chown -R postgres "$folder" || return 1
    as_postgres "$bin/initdb" --pgdata="$data" --username=validator --pwfile="$folder/password" --auth-local=trust \
        --auth-host=scram-sha-256 --encoding=UTF8 --locale=C --no-sync || return 1
    # Durability is of no use to a server that is thrown away; the rest keeps runs alike and many servers possible.
    cat >>"$data/postgresql.conf" <<END
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_connections = 200
shared_buffers = 32MB
autovacuum = off
timezone = 'UTC'
lc_messages = 'C'
listen_addresses = '127.0.0.1'
unix_socket_directories = '$folder'
END
}

start() { as_postgres "$bin/pg_ctl" start -w -t 60 -D "$data" -o "-p $port" -l "$folder/server.log"; }
stop() { as_postgres "$bin/pg_ctl" stop -w -t 60 -D "$data" -m "$1"; }

while read -r order mode; do
    case $order in
    init) try init ;;
    start) try start ;;
    stop) try stop "$mode" ;;
    *) answer failed ;;
    esac
done

[ ! -e "$data/postmaster.pid" ] || stop immediate
cd / && rm -rf "$folder"
