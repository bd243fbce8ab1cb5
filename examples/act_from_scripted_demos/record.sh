#!/bin/sh
# Records scripted demonstrations of the cube transfer, with one small camera.
#
#     record.sh [FOLDER [NUMBER]]
#
# FOLDER is outputs/demos and NUMBER 50 where not given. The pictures are PNG in the rows: for ones as small as these it
# is quicker to train on than video.
set -eu
root=${1:-outputs/demos}
taketwo run --policy.type=scripted --session.num_episodes="${2:-50}" --session.seed=1 \
    --env.width=128 --env.height=96 --video.mode=off \
    --dataset.repo_id=me/transfer_cube_demos --dataset.root="$root" --dataset.video=false --dataset.trace=false \
    --output_dir="$root-session"
