"""How often the scripted policy solves `libero_object`: ten tasks, each from its first initial states. Not a test.

python -m tests.policies.libero_sweep [--grasp_noise=0.02] [--states=10] ...
"""

import argparse

from taketwo.envs.libero import LiberoConfig
from taketwo.policies.scripted import ScriptedConfig
from tests.envs.libero_support import ASSETS
from tests.policies.test_scripted_libero import Rollout

TASKS = 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=10)
    parser.add_argument("--grasp_noise", type=float, default=0.0)
    parser.add_argument("--tremor", type=float, default=0.0)
    parser.add_argument("--hesitation", type=float, default=0.0)
    parser.add_argument("--skip_grasp_check", action="store_true")
    parser.add_argument("--chunk_size", type=int, default=1)
    options = vars(parser.parse_args())
    states, solved = options.pop("states"), 0
    config = ScriptedConfig(**options)
    for task in range(TASKS):
        environment = LiberoConfig(task=task, cameras=(), assets=ASSETS).make()
        rollouts = [Rollout(environment, config, index, horizon=config.chunk_size) for index in range(states)]
        environment.close()
        steps = sum(len(rollout.actions) for rollout in rollouts) / states
        count = sum(rollout.solved for rollout in rollouts)
        solved += count
        print(f"{environment.spec.prompt}: {count} of {states}, {steps:.0f} steps")
    print(f"all: {solved} of {TASKS * states}")


if __name__ == "__main__":
    main()
