#!/usr/bin/env bash
# Installs what a bare Debian 12 lacks, and says what it installs.
#   tools/setup.sh venv DIR   Python with venv, then the project and all its extras in DIR
#   tools/setup.sh check      what the tests need besides: a MariaDB server (not started as a service), ZoneMinder's schema
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/as_root.sh

updated=
apt_update() {
  [ -n "$updated" ] || as_root apt-get update -qq
  updated=1
}

apt_install() { # packages
  echo "setup: installing from Debian: $*"
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
  local python
  for python in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      command -v "$python"
      return
    fi
  done
}

venv() { # directory
  local python
  python=$(find_python)
  if [ -z "$python" ]; then
    apt_install python3 python3-venv
    python=$(find_python)
  fi
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install python3-venv
  fi
  if [ ! -x "$1/bin/pip" ]; then
    echo "setup: making $1 with $("$python" --version)"
    "$python" -m venv "$1"
  fi
  echo "setup: installing zmtwist and what it needs into $1 (from PyPI)"
  "$1/bin/pip" install --quiet --disable-pip-version-check --upgrade 'pip>=23' 'setuptools>=65' wheel
  "$1/bin/pip" install --quiet --disable-pip-version-check --editable '.[sim,test,conch,mqtt]'
}

case "${1:-}" in
  venv) venv "$2" ;;
  check) tests/setup_debian.sh ;;
  *) echo "usage: tools/setup.sh venv DIR | check" >&2; exit 2 ;;
esac
