#!/bin/sh
# Installs the system libraries that software rendering needs, where they are missing (Debian, Ubuntu).
#
#   install_system_packages.sh [PACKAGE...]    and these, without which some tests are skipped
set -eu

needed="libegl1 libgl1 libgl1-mesa-dri libosmesa6"
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    needed="$needed python3-venv"
fi

missing_of() {
    for package in "$@"; do
        if ! dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
            printf ' %s' "$package"
        fi
    done
}

install() {
    # shellcheck disable=SC2086
    $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# shellcheck disable=SC2086
missing=$(missing_of $needed)
wanted=$(missing_of "$@")
[ -n "$missing$wanted" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "note: not Debian or Ubuntu; see that EGL or OSMesa is there, 'taketwo doctor' will tell" >&2
    exit 0
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        [ -z "$missing" ] || { echo "error: as root, run: apt-get install$missing" >&2; exit 1; }
        echo "note: some tests are skipped without$wanted" >&2
        exit 0
    fi
    as_root="sudo"
fi
echo "installing system packages:$missing$wanted" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2086
[ -z "$missing" ] || install $missing
for package in $wanted; do
    install "$package" || echo "note: $package cannot be installed: the tests that need it are skipped" >&2
done
