"""Reads every row of a dataset, pictures included, with LeRobot itself.

    python lerobot_rows.py ROOT REPO_ID

The last line printed is a JSON object.
"""

import json
import sys

from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main():
    root, repo_id = sys.argv[1:]
    dataset = LeRobotDataset(repo_id, root=root, video_backend="pyav")
    rows = [dataset[number] for number in range(len(dataset))]
    print(json.dumps({"rows": len(rows), "indices": [int(row["index"]) for row in rows]}))


if __name__ == "__main__":
    main()
