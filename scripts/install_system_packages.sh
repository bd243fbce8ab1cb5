#!/bin/sh
# Installs the system libraries that software rendering needs, where they are missing (Debian, Ubuntu).
set -eu

packages="libegl1 libgl1 libgl1-mesa-dri libosmesa6"
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    packages="$packages python3-venv"
fi

missing=""
for package in $packages; do
    if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "note: not Debian or Ubuntu; see that EGL or OSMesa is there, 'taketwo doctor' will tell" >&2
    exit 0
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "error: as root, run: apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "installing system packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
