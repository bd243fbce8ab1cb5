#!/usr/bin/env bash
# Checks docker/: lints Dockerfiles and scripts, and has Docker Compose itself read every combination of the compose files.
# Where a Docker daemon runs, it also builds the images and runs an episode through them.
#
# The tools of requirements/docker.txt go into .venv-docker. A check that cannot be made is told as NOT CHECKED, and is an
# error where the environment variable CI is set.
# Exit status: 1 where a check failed.
#
# shellcheck disable=SC2329 # functions are called through `checked`
set -uo pipefail
cd "$(dirname "$0")/.." || exit

tools=.venv-docker
uv=.venv/bin/uv
status=0
export TAKETWO_API_KEY=for-the-check DISPLAY=${DISPLAY:-:0}

failed() {
    echo "FAILED: $1" >&2
    status=1
}

not_checked() {
    echo "NOT CHECKED: $1" >&2
    if [ -n "${CI:-}" ]; then status=1; fi
}

checked() {
    local what=$1
    shift
    if "$@"; then echo "ok: $what"; else failed "$what"; fi
}

install_tools() {
    cmp --quiet requirements/docker.txt "$tools/installed.txt" && return
    "$uv" venv --quiet --clear "$tools" || return
    VIRTUAL_ENV=$tools "$uv" pip install --quiet --only-binary :all: --require-hashes --requirement requirements/docker.txt || return
    cp requirements/docker.txt "$tools/installed.txt"
}

compose() {
    "$tools/bin/docker-compose" --env-file /dev/null "$@"
}

without_a_key_it_refuses() {
    local said
    said=$(env -u TAKETWO_API_KEY "$tools/bin/docker-compose" --env-file /dev/null -f docker/compose.yml config 2>&1) && return 1
    [[ $said == *"required variable TAKETWO_API_KEY is missing"* ]]
}

if install_tools; then
    checked "Dockerfiles" "$tools/bin/hadolint" docker/*.Dockerfile
    checked "scripts" "$tools/bin/shellcheck" docker/*.sh scripts/*.sh
    checked "compose.yml" compose -f docker/compose.yml config --quiet
    for override in docker/compose.*.yml; do
        checked "compose.yml with ${override#docker/}" compose -f docker/compose.yml -f "$override" config --quiet
    done
    checked "compose.yml without an API key is refused" without_a_key_it_refuses
else
    not_checked "Dockerfiles, scripts and compose files: the tools of requirements/docker.txt cannot be installed"
fi

run_an_episode() {
    local at_hand=(docker compose)
    docker compose version >/dev/null 2>&1 || at_hand=("$tools/bin/docker-compose")
    export RUN_ARGS="--session.num_episodes=1 --video.mode=off" SERVER_PORT=0
    "${at_hand[@]}" -p taketwo-check -f docker/compose.yml up --build --exit-code-from runtime
    local result=$?
    "${at_hand[@]}" -p taketwo-check -f docker/compose.yml down --volumes
    return "$result"
}

if ! command -v docker >/dev/null; then
    echo "note: images are not built: there is no docker here" >&2
elif ! docker info >/dev/null 2>&1; then
    echo "note: images are not built: no Docker daemon runs here" >&2
else
    checked "images, and an episode through them" run_an_episode
fi
exit "$status"
