#!/bin/sh
# Trains a small ACT on them, by LeRobot.
#
#     train.sh [DEMOS [FOLDER [STEPS [FLAG ...]]]]
#
# DEMOS is outputs/demos, FOLDER outputs/act and STEPS 20000 where not given; further flags go to lerobot-train, such as
# --policy.device=cuda or --save_freq=1000.
set -eu
demos=${1:-outputs/demos} folder=${2:-outputs/act} steps=${3:-20000}
shift "$(($# < 3 ? $# : 3))"
# The demonstrations are all alike, so there are no styles for a latent to tell apart: use_vae is off.
lerobot-train --dataset.repo_id=me/transfer_cube_demos --dataset.root="$demos" --output_dir="$folder" \
    --policy.type=act --policy.push_to_hub=false --policy.pretrained_backbone_weights=null --policy.use_vae=false \
    --policy.dim_model=128 --policy.n_heads=4 --policy.dim_feedforward=512 --policy.n_encoder_layers=2 \
    --policy.chunk_size=50 --policy.n_action_steps=25 \
    --policy.optimizer_lr=2e-4 --policy.optimizer_lr_backbone=2e-4 \
    --steps="$steps" --batch_size=8 --num_workers=0 --wandb.enable=false "$@"
