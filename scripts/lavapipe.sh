#!/bin/sh
# Prints the description of a Vulkan device in software that SAPIEN (ManiSkill's renderer) can draw with, for
# VK_ICD_FILENAMES: Mesa's lavapipe, which has the extensions for that from Mesa 24.3 on. Debian 12 has such a one among
# its backports only; it is fetched from there and unpacked beside the environments of the tests. Nothing is installed.
#
#     scripts/lavapipe.sh [--existing]
#
# --existing fetches nothing. Exit status: 1 it cannot be had, 4 it is not there and --existing was given.
set -eu

home=${TAKETWO_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/taketwo/peers}/lavapipe
description=$home/lavapipe.json

print_if_there() {
    if [ -e "$description" ]; then
        echo "$description"
        exit 0
    fi
}

print_if_there
[ "${1:-}" != --existing ] || exit 4

command -v apt-get >/dev/null || {
    echo "error: not Debian; have Mesa 24.3 or later, and nothing else is needed" >&2
    exit 1
}
# shellcheck source=/dev/null
. /etc/os-release
# shellcheck disable=SC2016  # apt fills it in
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $VERSION_CODENAME" | head -n 1)
building=$home.building
mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
print_if_there # another one may have fetched it meanwhile
rm -rf "$building"
mkdir -p "$building/lists/partial" "$building/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $VERSION_CODENAME-backports main" \
    >"$building/sources.list"

apt() {
    apt-get -qq -o Dir::Etc::SourceList="$building/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$building/lists" -o Dir::Cache="$building" -o APT::Sandbox::User="$(id -un)" "$@" >&2
}

echo "fetching $home" >&2
if ! { apt update && (cd "$building" && apt download mesa-vulkan-drivers) && dpkg -x "$building"/*.deb "$building"; }; then
    echo "error: $VERSION_CODENAME-backports have no Mesa that can be fetched; what apt-get said stands above" >&2
    exit 1
fi
library=$(cd "$building" && find usr/lib -name libvulkan_lvp.so)
rm -rf "$building/lists" "$building/archives" "$building"/*.deb "$building"/*.bin
cat >"$building/lavapipe.json" <<END
{"file_format_version": "1.0.0", "ICD": {"library_path": "$home/$library", "api_version": "1.3.0"}}
END
rm -rf "$home"
mv "$building" "$home"
echo "$description"
