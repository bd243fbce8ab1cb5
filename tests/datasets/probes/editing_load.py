"""Loads a dataset with LeRobot and looks at every row of it.

    python editing_load.py ROOT

The last line printed is a JSON object: episodes, rows, `index` and `episode_index` of all rows as they come, and by
episode the task, the first state, and the mean of each camera's first picture.
"""

import json
import sys

from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main():
    dataset = LeRobotDataset("me/edited", root=sys.argv[1], tolerance_s=1e-4, video_backend="pyav")
    items = [dataset[number] for number in range(len(dataset))]
    firsts = [item for item in items if item["frame_index"].item() == 0]
    answer = {
        "episodes": dataset.num_episodes,
        "rows": len(dataset),
        "index": [item["index"].item() for item in items],
        "episode_index": [item["episode_index"].item() for item in items],
        "tasks": [item["task"] for item in firsts],
        "states": [item["observation.state"].tolist() for item in firsts],
        "brightness": {key: [item[key].mean().item() for item in firsts] for key in dataset.meta.camera_keys},
        "stats_count": int(dataset.meta.stats["action"]["count"][0]),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
