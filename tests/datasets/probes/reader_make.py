"""Records a small dataset with LeRobot itself.

    python reader_make.py ROOT video|image TRUTH.npz

Three episodes of 20, 7 and 13 rows at 30 Hz; the second one succeeds. TRUTH gets, by episode, `0/action`, `0/task`, ...
and `0/observation.images.top` (T, H, W, 3). The last line printed is a JSON object.
"""

import json
import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LENGTHS = (20, 7, 13)
CAMERAS = ("top", "wrist")
HEIGHT, WIDTH = 64, 96


def main():
    root, kind, truth_path = sys.argv[1:]
    features = {
        "observation.state": {"dtype": "float32", "shape": (4,), "names": ["a", "b", "c", "d"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "capture_time": {"dtype": "float64", "shape": (1,), "names": None},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
    }
    for camera in CAMERAS:
        shape = {"shape": (HEIGHT, WIDTH, 3), "names": ["height", "width", "channels"]}
        features[f"observation.images.{camera}"] = {"dtype": kind, **shape}
    dataset = LeRobotDataset.create(
        "me/foreign", fps=30, features=features, root=root, robot_type="point", use_videos=kind == "video"
    )
    rng = np.random.default_rng(0)
    truth = {}
    for episode, length in enumerate(LENGTHS):
        rows = [row_of(rng, episode, number, length) for number in range(length)]
        for row in rows:
            dataset.add_frame(dict(row))
        dataset.save_episode()
        for key in rows[0]:
            truth[f"{episode}/{key}"] = np.stack([row[key] for row in rows])
    dataset.finalize()
    np.savez(truth_path, **truth)
    print(json.dumps({"episodes": len(LENGTHS)}))


def row_of(rng, episode, number, length):
    return {
        "observation.state": rng.normal(size=4).astype(np.float32),
        "action": rng.normal(size=2).astype(np.float32),
        "capture_time": np.array([number / 30 + 0.001]),
        "next.reward": rng.normal(size=1).astype(np.float32),
        "next.success": np.array([episode == 1 and number == length - 1]),
        "observation.images.top": picture(10 * number, 90 * episode, 128),
        "observation.images.wrist": picture(200, 10 * number, 90 * episode),
        "task": "push it" if number < 5 else "pull it",
    }


def picture(red, green, blue):
    """Half of it in one colour, the other in black."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2] = red, green, blue
    return pixels


if __name__ == "__main__":
    main()
