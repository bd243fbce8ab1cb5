"""Adds an episode to a dataset with LeRobot itself, as its `--resume` does, and tells what is there afterwards.

    python lerobot_append.py ROOT REPO_ID TRUTH.npz

TRUTH is as `lerobot_load.py` has it. The last line printed is a JSON object.
"""

import json
import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot_load import Truth, compare_rows

TASK = "do something else"
LENGTH = 12
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def main():
    root, repo_id, truth_path = sys.argv[1:]
    resumed = open_to_append(repo_id, root)
    features = {key: feature for key, feature in resumed.meta.features.items() if key not in BOOKKEEPING}
    had = {"rows": resumed.meta.total_frames, "episodes": resumed.meta.total_episodes}
    counts = {key: int(stats["count"][0]) for key, stats in resumed.meta.stats.items()}
    frames = [make_frame(features, step) for step in range(LENGTH)]
    for frame in frames:
        resumed.add_frame({**frame, "task": TASK})
    resumed.save_episode()
    resumed.finalize()
    del resumed

    dataset = LeRobotDataset(repo_id, root=root, tolerance_s=1e-4, video_backend="pyav")
    added = [dataset[had["rows"] + step] for step in range(LENGTH)]
    answer = {
        "had": had,
        "rows": len(dataset),
        "episodes": dataset.num_episodes,
        "differing": differing(frames, added, features),
        "brightness_error": brightness_error(frames, added, dataset.meta.camera_keys),
        "tasks": sorted({item["task"] for item in added}),
        "before": compare_rows(dataset, Truth(truth_path)),
        "counts_added": {key: int(dataset.meta.stats[key]["count"][0]) - count for key, count in counts.items()},
    }
    print(json.dumps(answer))


def open_to_append(repo_id, root):
    """LeRobot 0.6 has a way of its own for it; before, every dataset could be added to."""
    if hasattr(LeRobotDataset, "resume"):
        return LeRobotDataset.resume(repo_id, root=root)
    return LeRobotDataset(repo_id, root=root)


def make_frame(features, step):
    """A row with every column: a picture of one grey, and numbers that tell the step."""
    frame = {}
    for key, feature in features.items():
        shape = tuple(feature["shape"])
        if feature["dtype"] in ("video", "image"):
            frame[key] = np.full(shape, 40 + 10 * step, np.uint8)
        elif feature["dtype"] == "bool":
            frame[key] = np.full(shape, step == LENGTH - 1)
        else:
            frame[key] = np.full(shape, step, feature["dtype"])
    return frame


def differing(frames, items, features):
    """(step, column) of every number that came back as another."""
    return [
        [step, key]
        for step, (frame, item) in enumerate(zip(frames, items, strict=True))
        for key, feature in features.items()
        if feature["dtype"] not in ("video", "image") and not np.array_equal(np.ravel(frame[key]), np.ravel(item[key]))
    ]


def brightness_error(frames, items, cameras):
    """Largest difference of a picture's mean, of 255."""
    return max(
        abs(float(item[camera].mean()) * 255 - float(frame[camera].mean()))
        for frame, item in zip(frames, items, strict=True)
        for camera in cameras
    )


if __name__ == "__main__":
    main()
