"""Records the point with whatever is installed beside LeRobot, an older PyAV above all, into the folder given."""

import gc
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src"))

import av

from taketwo.datasets.sink import DatasetConfig
from taketwo.session.config import SessionConfig
from taketwo.session.loop import Session
from taketwo.testing import PointEnvironment, SteeringController

environment = PointEnvironment()
sink = DatasetConfig(root=Path(sys.argv[1])).make(environment.spec, environment.spec.control_hz)
session = SessionConfig(num_episodes=3, max_episode_steps=20, seed=4)
result = Session(environment, SteeringController(0.02), session, [sink]).run()
gc.collect()  # what was freed wrongly shows now
print(json.dumps({"av": av.__version__, "fault": result.fault and str(result.fault)}))
