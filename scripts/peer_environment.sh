#!/bin/sh
# Prints the Python of an environment that has LeRobot itself, of the version given, and builds it where it is missing
# or not what requirements/peer-lerobot-VERSION.txt asks for. Tests and benchmarks run their other side in it.
#
#     scripts/peer_environment.sh 0.4.4|0.6.1 [--existing]
#
# --existing builds nothing. The environment is in $TAKETWO_PEERS, or else in ~/.cache/taketwo/peers. What is printed is
# a Python that also finds FFmpeg's libraries, the ones in PyAV's wheel: torchcodec brings none.
# Exit status: 1 it cannot be built, 3 there is no Python for it, 4 it is not there and --existing was given.
set -eu

version=${1:-}
case $version in
    0.4.4) python_version=3.11 ;;
    0.6.1) python_version=3.12 ;;
    *)
        echo "usage: $0 0.4.4|0.6.1 [--existing]" >&2
        exit 2
        ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
pins=$here/../requirements/peer-lerobot-$version.txt
peers=${TAKETWO_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/taketwo/peers}
home=$peers/lerobot-$version
peer_python=$home/bin/peer-python
stamp=$home/taketwo.sha256
building=$home.building # there while files are being installed: whoever finds it, found what a killed one left
wanted=$(cat "$pins" "$here/peer_environment.sh" | sha256sum | cut -d ' ' -f 1)

print_if_built() {
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ ! -e "$building" ] && "$peer_python" -c ''; then
        echo "$peer_python"
        exit 0
    fi
}

# PyAV's libraries under the names that others know them by, and a Python that looks for them there.
lend_ffmpeg() {
    bundled=$(echo "$home"/lib/python*/site-packages/av.libs)
    mkdir -p "$home/ffmpeg"
    for library in "$bundled"/libav*-*.so.* "$bundled"/libsw*-*.so.*; do
        name=$(basename "$library" | sed -E 's/-[0-9a-f]+(\.so\.[0-9]+).*/\1/')
        ln -sf "$library" "$home/ffmpeg/$name"
    done
    cat >"$peer_python" <<END
#!/bin/sh
LD_LIBRARY_PATH='$home/ffmpeg:$bundled' exec '$home/bin/python' "\$@"
END
    chmod +x "$peer_python"
}

print_if_built
[ "${2:-}" != --existing ] || exit 4

python=$("$here/find_python.sh" "$python_version")
if [ -z "$python" ]; then
    echo "note: LeRobot $version runs in Python $python_version, which was not found: install it, such as by 'pyenv install $python_version'" >&2
    exit 3
fi
uv=$here/../.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || {
    echo "error: no uv was found: 'make setup' installs it" >&2
    exit 1
}

mkdir -p "$peers"
exec 9>"$home.lock"
flock 9
print_if_built # another one may have built it meanwhile

echo "building $home" >&2
if [ -e "$building" ] || ! "$home/bin/python" -c '' 2>/dev/null; then
    rm -rf "$home"
    "$uv" venv --quiet --python "$python" "$home" >&2
fi
: >"$building"
if ! "$uv" pip sync --quiet --python "$home/bin/python" "$pins" >&2; then
    echo "error: $home cannot be built; what uv said stands above" >&2
    exit 1
fi
lend_ffmpeg
echo "$wanted" >"$stamp"
rm "$building"
print_if_built
