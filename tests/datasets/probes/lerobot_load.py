"""Loads a dataset with LeRobot itself and tells how what comes out of it differs from what was recorded.

    python lerobot_load.py ROOT REPO_ID TRUTH.npz

TRUTH has `<episode>/<camera>` (T, H, W, 3) uint8, `<episode>/action`, `<episode>/observation.state` and
`<episode>/task` (T,) texts. The last line printed is a JSON object.
"""

import json
import sys
from functools import cache, partial

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

BACKENDS = ("pyav", "torchcodec")
SAMPLES = 40
BATCH = 16


class Truth:
    """What was recorded, an array at a time."""

    def __init__(self, path):
        self._arrays = np.load(path)
        self.episodes = sorted({int(name.split("/")[0]) for name in self._arrays})
        self.get = cache(lambda episode, key: self._arrays[f"{episode}/{key}"])

    def rows(self):
        """(episode, number in it) of every row, in order."""
        return [(e, row) for e in self.episodes for row in range(len(self.get(e, "action")))]


def main():
    root, repo_id, truth_path = sys.argv[1:]
    truth = Truth(truth_path)
    openers = {
        backend: partial(LeRobotDataset, repo_id, root=root, tolerance_s=1e-4, video_backend=backend)
        for backend in BACKENDS
    }
    # All workers first: they must not inherit a decoder.
    loaded = {backend: load_all(open_dataset()) for backend, open_dataset in openers.items()}
    answer = {
        backend: {
            **describe(open_dataset()),
            "loaded": loaded[backend],
            **compare_rows(open_dataset(), truth),
            "windows": compare_windows(open_dataset, truth),
        }
        for backend, open_dataset in openers.items()
    }
    print(json.dumps(answer))


def describe(dataset):
    """What it says of itself."""
    return {
        "rows": len(dataset),
        "episodes": dataset.num_episodes,
        "fps": dataset.fps,
        "cameras": list(dataset.meta.camera_keys),
        "stats": sorted(dataset.meta.stats),
    }


def load_all(dataset):
    """The `index` column as a DataLoader with workers brings it."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, num_workers=2)
    return [number for batch in loader for number in batch["index"].tolist()]


def compare_rows(dataset, truth):
    """Random rows, and the first and last of every episode."""
    cameras = dataset.meta.camera_keys
    rows = truth.rows()
    rng = np.random.default_rng(0)
    firsts = [rows.index((episode, 0)) for episode in truth.episodes]
    lasts = [first - 1 for first in firsts[1:]] + [len(rows) - 1]
    chosen = sorted({*firsts, *lasts, *rng.choice(len(rows), min(SAMPLES, len(rows)), replace=False).tolist()})
    psnr = {camera: [] for camera in cameras}
    numbers_differ, tasks_differ = [], []
    for index in chosen:
        episode, row = rows[index]
        item = dataset[index]
        for camera in cameras:
            psnr[camera].append(signal_to_noise(item[camera], truth.get(episode, camera)[row]))
        for key in ("action", "observation.state"):
            if not np.array_equal(item[key].numpy(), truth.get(episode, key)[row].astype(np.float32)):
                numbers_differ.append([index, key])
        if item["task"] != truth.get(episode, "task")[row]:
            tasks_differ.append([index, item["task"]])
    return {
        "psnr": {camera: {"mean": float(np.mean(each)), "min": min(each)} for camera, each in psnr.items()},
        "numbers_differ": numbers_differ,
        "tasks_differ": tasks_differ,
    }


def compare_windows(open_dataset, truth):
    """Three steps at once about the first, a middle and the last row of each episode."""
    meta = open_dataset().meta
    fps, cameras = meta.fps, meta.camera_keys
    keys = [*cameras, "action", "observation.state"]
    dataset = open_dataset(delta_timestamps={key: [-1 / fps, 0.0, 1 / fps] for key in keys})
    rows = truth.rows()
    worst, padding_differs = float("inf"), []
    for episode in truth.episodes:
        length = len(truth.get(episode, "action"))
        for middle in (0, length // 2, length - 1):
            item = dataset[rows.index((episode, middle))]
            outside = [middle == 0, False, middle == length - 1]
            if any(item[f"{key}_is_pad"].tolist() != outside for key in keys):
                padding_differs.append([episode, middle])
            for camera in cameras:
                frames = truth.get(episode, camera)
                for place, row in enumerate(range(middle - 1, middle + 2)):
                    shown = frames[min(max(row, 0), length - 1)]
                    worst = min(worst, signal_to_noise(item[camera][place], shown))
    return {"min_psnr": worst, "padding_differs": padding_differs}


def signal_to_noise(tensor, pixels):
    """PSNR in dB between a (3, H, W) float picture from 0 to 1 and (H, W, 3) uint8 pixels; 100 where they are equal."""
    shown = (tensor.numpy().transpose(1, 2, 0) * 255).round()
    error = float(np.mean((shown - pixels.astype(np.float64)) ** 2))
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))


if __name__ == "__main__":
    main()
