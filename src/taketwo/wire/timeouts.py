"""How long a server may take, as the options of all policies behind a server have it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from taketwo.errors import ConfigError


@dataclass(frozen=True)
class Timeouts:
    """Seconds, by the names of the options.

    Attributes:
        connect_timeout_s: how long to wait for a server that does not answer yet.
        reconnect_timeout_s: how long to try to get back a server that was lost.
        first_infer_timeout_s: limit for the first answer, in which models are compiled.
        infer_timeout_s: limit for every later answer.
    """

    connect_timeout_s: float
    reconnect_timeout_s: float
    first_infer_timeout_s: float
    infer_timeout_s: float

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            may_be_none = field.name == "reconnect_timeout_s"
            if not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not may_be_none):
                allowed = "seconds, 0 or more" if may_be_none else "seconds above 0"
                raise ConfigError(f"{field.name} must be a finite number of {allowed}, not {seconds}")

    @classmethod
    def of(cls, config: object) -> Timeouts:
        """Those of a policy's configuration, which has fields of these names.

        Raises:
            ConfigError: one of them is no time.
        """
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})
