#!/usr/bin/env bash
# What the tests need, from Debian: a MariaDB server (installed, never started as a service) and ZoneMinder's own schema, taken out of
# its package into .cache/; systemd and logrotate, which check the files in etc/; a browser for the status page, and web servers that it is
# put behind; an MQTT broker. Does only what has not been done yet, and says what it installs.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/as_root.sh

schema=.cache/zoneminder/usr/share/zoneminder/db/zm_create.sql

have_server() {
  PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null
}

# What of these is not there, by the program that each is needed for.
missing_tools() {
  PATH=$PATH:/usr/sbin
  command -v systemd-analyze >/dev/null || echo systemd
  command -v logrotate >/dev/null || echo logrotate
  command -v chromium >/dev/null || echo chromium
  command -v chromedriver >/dev/null || echo chromium-driver
  command -v mosquitto >/dev/null || echo mosquitto
  command -v nginx >/dev/null || echo nginx-light
  command -v apache2 >/dev/null || echo apache2-bin
  command -v openssl >/dev/null || echo openssl
}

install() { # packages
  echo "setup: installing from Debian: $* (for tests; no service is started)"
  # Debian's packages ask this script before they start a service: 101 means no.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    made=1
  fi
  local status=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || status=$?
  if [ -n "$made" ]; then as_root rm -f "$policy"; fi
  return "$status"
}

fetch_schema() {
  echo "setup: fetching ZoneMinder's schema out of Debian's package zoneminder (nothing is installed)"
  local dir
  dir=$(mktemp -d)
  # Nothing of this needs root, unless Debian's lists are missing or so old that the package has gone.
  if ! (cd "$dir" && download); then
    as_root apt-get update -qq
    (cd "$dir" && download)
  fi
  dpkg -x "$dir"/zoneminder_*.deb "$dir/all"
  mkdir -p "$(dirname "$schema")"
  cp "$dir"/all/usr/share/zoneminder/db/{triggers,zm_create}.sql "$(dirname "$schema")"
  rm -rf "$dir"
}

download() {
  apt-get download -qq -o APT::Sandbox::User="$(id -un)" zoneminder
}

read -r -a wanted <<<"$(missing_tools | xargs)"
have_server || wanted+=(mariadb-server)
if [ "${#wanted[@]}" != 0 ]; then
  as_root apt-get update -qq
  install "${wanted[@]}"
fi
[ -s "$schema" ] || fetch_schema
