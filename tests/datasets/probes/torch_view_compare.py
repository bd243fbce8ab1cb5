"""Compares our PyTorch view of a dataset with LeRobot's own, item by item.

    python torch_view_compare.py SOURCES ROOT

SOURCES is the folder that has our package. The last line printed is a JSON object.
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import torch

LEVELS = 3 / 255
"""Two decoders differ by this much where colours meet."""


def main():
    sources, root = sys.argv[1], Path(sys.argv[2])
    sys.path.insert(0, sources)
    # Here, since the workers that are spawned import this file again.
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from taketwo.datasets.reader import Dataset
    from taketwo.datasets.torch_view import TorchDataset

    theirs = LeRobotDataset("me/foreign", root=root)
    cameras = theirs.meta.camera_keys
    windows = {key: [-2 / 30, 0.0, 1 / 30, 1 / 30] for key in ("action", *cameras)} | {"observation.state": [0.0]}
    single = {key: [0.0] for key in cameras}
    ours = TorchDataset(Dataset.open(root))
    loaders = {
        method: torch.utils.data.DataLoader(ours, 4, num_workers=2, multiprocessing_context=method)
        for method in ("fork", "spawn")
    }
    some = TorchDataset(Dataset.open(root), columns=["action"], cameras=["wrist"])
    answer = {
        "is a torch dataset": isinstance(ours, torch.utils.data.Dataset),
        "rows": [len(ours), len(theirs)],
        "plain": differences(ours, theirs),
        "pickled": differences(pickle.loads(pickle.dumps(ours)), theirs),
        "windows": differences(
            TorchDataset(Dataset.open(root), delta_timestamps=windows),
            LeRobotDataset("me/foreign", root=root, delta_timestamps=windows),
        ),
        "single": differences(
            TorchDataset(Dataset.open(root), delta_timestamps=single),
            LeRobotDataset("me/foreign", root=root, delta_timestamps=single),
        ),
        "loaded": {method: loaded_differences(loader, ours) for method, loader in loaders.items()},
        "shuffled": sorted(shuffled(ours)) == list(range(len(ours))),
        "last": differences([ours[-1]], [theirs[len(theirs) - 1]]),
        "some": sorted(some[0]),
        "refused": {name: refusal(make) for name, make in refused(Dataset.open(root), TorchDataset).items()},
        "after the end": refusal(lambda: ours[len(ours)]),
    }
    print(json.dumps(answer))


def differences(ours, theirs):
    """What is not alike, the first ten."""
    found = [f"row {row}: {what}" for row in range(len(theirs)) for what in item_differences(ours[row], theirs[row])]
    return found[:10]


def item_differences(ours, theirs):
    if ours.keys() != theirs.keys():
        yield f"keys {sorted(ours.keys() ^ theirs.keys())}"
    for key in ours.keys() & theirs.keys():
        a, b = ours[key], theirs[key]
        if isinstance(b, str):
            if a != b:
                yield f"{key}: {a!r} is not {b!r}"
        elif (a.shape, a.dtype) != (b.shape, b.dtype):
            yield f"{key}: {a.shape} {a.dtype} is not {b.shape} {b.dtype}"
        elif "images" in key and a.dtype == torch.float32:
            error = (a - b).abs().numpy()
            if np.percentile(error, 90) > LEVELS:
                yield f"{key}: off by {error.max() * 255:.1f} levels"
        elif not torch.equal(a, b):
            yield f"{key}: {a} is not {b}"


def loaded_differences(loader, dataset):
    """What workers bring that is not what this process reads."""
    found, row = [], 0
    for batch in loader:
        for place in range(len(batch["task"])):
            item = dataset[row]
            found += [key for key in item if isinstance(item[key], str) and item[key] != batch[key][place]]
            tensors = [key for key in item if not isinstance(item[key], str)]
            found += [f"row {row}: {key}" for key in tensors if not torch.equal(item[key], batch[key][place])]
            row += 1
    return found[:10] if row == len(dataset) else [f"{row} rows"]


def shuffled(dataset):
    for batch in torch.utils.data.DataLoader(dataset, 4, shuffle=True):
        yield from batch["index"].tolist()


def refused(dataset, view):
    return {
        "camera": lambda: view(dataset, cameras=["tip"]),
        "column": lambda: view(dataset, columns=["acton"]),
        "column in time": lambda: view(dataset, columns=[], delta_timestamps={"action": [0.0]}),
        "between frames": lambda: view(dataset, delta_timestamps={"action": [0.01]}),
    }


def refusal(make):
    try:
        make()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    main()
