"""Names to configuration classes, for environments and policies, ours and third parties'.

A component is a frozen dataclass of its options with a method that builds it. Ours are named here as
`module:Class` strings, so that nothing is imported until it is chosen. A package of yours joins by an
entry point in the group `taketwo.envs` or `taketwo.policies`:

    [project.entry-points."taketwo.envs"]
    my_env = "my_package.env:MyEnvConfig"
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from taketwo.errors import ConfigError, one_of


class Registry:
    """The components of one kind, by name."""

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind = kind
        self._group = group
        self._builtin = dict(builtin)

    def targets(self) -> dict[str, str]:
        """Every known name with its `module:Class`; on a clash, the built-in one wins."""
        found = {point.name: point.value for point in entry_points(group=self._group)}
        return found | self._builtin

    def config_class(self, name: str) -> type[Any]:
        """The configuration class of a component.

        Raises:
            ConfigError: no component has this name, or a third party's cannot be imported.
        """
        targets = self.targets()
        if name not in targets:
            raise ConfigError(one_of(self.kind, name, targets))
        module, _, attribute = targets[name].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.kind} {name!r} cannot be loaded from {targets[name]!r}: {error}") from error
