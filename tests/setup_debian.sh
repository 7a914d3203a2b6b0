#!/usr/bin/env bash
# What the database tests need, from Debian: a MariaDB server (installed, never started as a service) and ZoneMinder's own schema,
# taken out of its package into .cache/. Does only what has not been done yet, and says what it installs.
set -euo pipefail
cd "$(dirname "$0")/.."

schema=.cache/zoneminder/usr/share/zoneminder/db/zm_create.sql

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "setup: need root or sudo to run: $*" >&2; exit 1
  fi
}

have_server() {
  PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null
}

install_server() {
  echo "setup: installing from Debian: mariadb-server (for tests; its service is not started)"
  # Debian's packages ask this script before they start a service: 101 means no.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    made=1
  fi
  local status=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server >/dev/null || status=$?
  if [ -n "$made" ]; then as_root rm -f "$policy"; fi
  return "$status"
}

fetch_schema() {
  echo "setup: fetching ZoneMinder's schema out of Debian's package zoneminder (nothing is installed)"
  local dir
  dir=$(mktemp -d)
  (cd "$dir" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" zoneminder)
  dpkg -x "$dir"/zoneminder_*.deb "$dir/all"
  mkdir -p "$(dirname "$schema")"
  cp "$dir"/all/usr/share/zoneminder/db/{triggers,zm_create}.sql "$(dirname "$schema")"
  rm -rf "$dir"
}

if ! have_server || [ ! -s "$schema" ]; then
  as_root apt-get update -qq
  have_server || install_server
  [ -s "$schema" ] || fetch_schema
fi
