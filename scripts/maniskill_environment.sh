#!/bin/sh
# Prints the Python of an environment that has ManiSkill, and builds it where it is missing: the LeRobot 0.4.4 environment
# (scripts/peer_environment.sh), which has PyTorch, with what of requirements/maniskill.txt it lacks.
#
#     scripts/maniskill_environment.sh [--existing]
#
# --existing builds nothing. Exit status: that of peer_environment.sh, 1 where it cannot be built, 4 where it is not there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pins=$here/../requirements/maniskill.txt
peer_pins=$here/../requirements/peer-lerobot-0.4.4.txt
peer=$("$here/peer_environment.sh" 0.4.4 "$@") || exit
home=$(dirname "$(dirname "$(dirname "$peer")")")/maniskill
stamp=$home/taketwo.sha256
wanted=$(cat "$pins" "$here/maniskill_environment.sh" "$(dirname "$(dirname "$peer")")/taketwo.sha256" | sha256sum | cut -d ' ' -f 1)

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || ! "$home/bin/python" -c ''; then
    [ "${1:-}" != --existing ] || exit 4
    exec 9>"$home.lock"
    flock 9
    echo "building $home" >&2
    uv=$here/../.venv/bin/uv
    [ -x "$uv" ] || uv=$(command -v uv)
    rm -rf "$home"
    "$uv" venv --quiet --python "$(dirname "$peer")/python" "$home" >&2
    grep -vxFf "$peer_pins" "$pins" >"$home/lacking.txt"
    "$uv" pip install --quiet --no-deps --python "$home/bin/python" --requirement "$home/lacking.txt" >&2 || {
        echo "error: $home cannot be built; what uv said stands above" >&2
        exit 1
    }
    # What is not in it comes from there: its own packages are found first.
    echo "$(dirname "$peer")"/../lib/python3.11/site-packages | xargs realpath >"$home/lib/python3.11/site-packages/peer.pth"
    echo "$wanted" >"$stamp"
fi
echo "$home/bin/python"
