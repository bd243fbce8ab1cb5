"""Rerun recordings read back with the installed SDK."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

chunk = pytest.importorskip("rerun.chunk", reason="this Rerun SDK cannot read recordings")


class Recording:
    """What a file holds.

    Attributes:
        entities: those that are logged over time.
    """

    def __init__(self, path):
        reader = chunk.RrdReader(path)
        self.application = reader.recordings()[0].application_id
        self._chunks = reader.stream().to_chunks()
        self.entities = {plain(one.entity_path) for one in self._chunks if not one.is_static}
        self._layouts = reader.blueprints()
        self._reader = reader

    def column(self, entity, column):
        """Values over time, in order, one list a row."""
        return [row for batch in self._batches(entity, static=False) for row in batch.column(column).to_pylist()]

    def number(self, entity, column="Scalars:scalars"):
        """(T,) values of a single number."""
        return np.array([value for (value,) in self.column(entity, column)])

    def times(self, entity):
        """(T,) numbers of frames, and (T,) seconds."""
        batches = list(self._batches(entity, static=False))
        frames = np.concatenate([batch.column("frame_index").to_numpy() for batch in batches])
        moments = np.concatenate([batch.column("timestamp").to_numpy() for batch in batches])
        return frames, moments / np.timedelta64(1, "s")

    def static(self, entity, column):
        """The value that holds for all times."""
        (batch,) = (one for one in self._batches(entity, static=True) if column in one.schema.names)
        (values,) = batch.column(column).to_pylist()
        return values

    def timelines(self):
        """The names of all time lines."""
        return {name for one in self._chunks for name in one.timeline_names}

    def titles(self):
        """The names of the views and containers of the layout."""
        (layout,) = self._layouts
        found = set()
        for one in self._reader.stream(store=layout).to_chunks():
            batch = one.to_record_batch()
            for name in batch.schema.names:
                if name.endswith("display_name"):
                    found |= {text for row in batch.column(name).to_pylist() for text in row or ()}
        return found

    def _batches(self, entity, static) -> Iterable:
        for one in self._chunks:
            if plain(one.entity_path) == entity and one.is_static == static:
                yield one.to_record_batch()


def plain(entity):
    """The path without what Rerun puts before signs that are special to it."""
    return entity.lstrip("/").replace("\\", "")
