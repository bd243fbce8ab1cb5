"""What LeRobot itself finds in a dataset: its size, its cameras, a picture of each, its tasks.

    python lerobot_sees.py ROOT REPO_ID PICTURES.npz

PICTURES gets row 0 of every camera, (H, W, 3) uint8. The last line printed is a JSON object.
"""

import json
import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(root, repo_id, pictures):
    dataset = LeRobotDataset(repo_id, root=root, video_backend="pyav")
    first = dataset[0]
    cameras = dataset.meta.camera_keys
    shown = {key.rsplit(".", 1)[1]: (first[key] * 255).round().byte().permute(1, 2, 0).numpy() for key in cameras}
    np.savez(pictures, **shown)
    found = {
        "episodes": dataset.num_episodes,
        "rows": len(dataset),
        "fps": dataset.fps,
        "cameras": cameras,
        "task": first["task"],
        "sizes": {key: list(first[key].shape) for key in ("observation.state", "action")},
        "succeeded": bool(dataset[len(dataset) - 1]["next.success"]),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
