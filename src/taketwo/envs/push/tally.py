"""What is counted in an episode of the push world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taketwo.envs.push.model import CONTROL_HZ, OBJECT
from taketwo.types import FloatArray

NEVER = -1
"""In plain values: there is no such step."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts so far. Contacts are looked at once a control step, at its end.

    Attributes:
        steps: control steps.
        solved_step: the step after which the task first stood solved; None until then.
        collisions: how often two robots began to touch.
        colliding: the pairs of robots that touch now.
        pushed_steps: steps in which at least one robot touched the object.
        shared_steps: steps in which at least two did.
        object_path_m: way of the object's centre of mass.
        robot_path_m: mean way of a robot.
    """

    steps: int = 0
    solved_step: int | None = None
    collisions: int = 0
    colliding: frozenset[tuple[int, int]] = frozenset()
    pushed_steps: int = 0
    shared_steps: int = 0
    object_path_m: float = 0.0
    robot_path_m: float = 0.0

    def after(
        self, touching: NDArray[np.int64], object_moved: float, robots_moved: FloatArray, *, solved: bool
    ) -> Tally:
        """The counts after one more step.

        Args:
            touching: (C, 2) owners of the geoms of each contact.
            object_moved: metres.
            robots_moved: (R,) metres.
            solved: whether the task stands solved.
        """
        pairs = [(min(a, b), max(a, b)) for a, b in touching.tolist()]
        colliding = frozenset(pair for pair in pairs if pair[0] >= 0 and pair[0] != pair[1])
        pushing = len({robot for owner, robot in pairs if owner == OBJECT and robot >= 0})
        steps = self.steps + 1
        return replace(
            self,
            steps=steps,
            solved_step=steps if solved and self.solved_step is None else self.solved_step,
            collisions=self.collisions + len(colliding - self.colliding),
            colliding=colliding,
            pushed_steps=self.pushed_steps + (pushing >= 1),
            shared_steps=self.shared_steps + (pushing >= 2),
            object_path_m=self.object_path_m + object_moved,
            robot_path_m=self.robot_path_m + float(robots_moved.mean()),
        )

    def metrics(self) -> dict[str, float | None]:
        """The episode's figures as they stand.

        - `success`: 1 once the task has stood solved, else 0.
        - `finish_time_s`: seconds until then; None before.
        - `collisions`: how often two robots began to touch.
        - `collaboration`: of the steps in which any robot touched the object, the share in which at least two did,
          from 0 to 1; None before any did.
        - `object_path_m`, `robot_path_m`: way of the object, and mean way of a robot, in metres.
        """
        return {
            "success": float(self.solved_step is not None),
            "finish_time_s": None if self.solved_step is None else self.solved_step / CONTROL_HZ,
            "collisions": float(self.collisions),
            "collaboration": self.shared_steps / self.pushed_steps if self.pushed_steps else None,
            "object_path_m": self.object_path_m,
            "robot_path_m": self.robot_path_m,
        }

    def plain(self, robots: int) -> dict[str, Any]:
        """The same as numbers and one (R, R) array, of which of the R robots touch, of a kind that never changes."""
        values = {name: getattr(self, name) for name in self.__slots__}
        colliding = np.zeros((robots, robots), np.uint8)
        for pair in self.colliding:
            colliding[pair] = 1
        return values | {"colliding": colliding, "solved_step": NEVER if self.solved_step is None else self.solved_step}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> Tally:
        """What `plain` was made of."""
        solved_step = int(values["solved_step"])
        pairs = np.argwhere(np.asarray(values["colliding"])).tolist()
        return cls(
            **{
                **values,
                "colliding": frozenset((a, b) for a, b in pairs),
                "solved_step": None if solved_step == NEVER else solved_step,
            }
        )
