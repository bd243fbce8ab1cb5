"""Simulator traces: the full state at every step of an episode, from which it can be run and drawn again exactly.

A trace is one Parquet file. Row k holds the simulator's state before action k and that action; the last row holds
the state after the last action, and no action. A column is a part of the state (an array is a fixed-size list), and
its bits are kept, those of NaN included. Floats are split into byte streams before they are compressed
(BYTE_STREAM_SPLIT, https://parquet.apache.org/docs/file-format/data-pages/encodings/), since the bytes of numbers that
change slowly are more alike than the numbers are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taketwo.datasets.row_log import RowLog, read_row_log
from taketwo.errors import DatasetError, EnvironmentFault, one_line
from taketwo.recording.naming import cannot_write, make_folder, replace_durably
from taketwo.types import FloatArray

ACTION = "action"

STATE_PREFIX = "state."
"""Columns of the state, so that a part may be called `action` too."""

LAYOUT_KEY = b"taketwo.trace"
"""The entry of the file's metadata that tells the types and shapes of the state's parts."""

LAYOUT_VERSION = 1

PLAIN_COLUMNS = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}

NUMBERS = "biuf"
"""Kinds of NumPy types that can be kept: bool, signed, unsigned, float."""


@dataclass(frozen=True)
class StatePart:
    """One entry of a snapshot.

    Attributes:
        name: its key.
        kind: `str`, `int`, `float` or `bool` for a plain value, `array`, or `scalar` for a NumPy scalar.
        dtype: NumPy's name of the type; empty for plain values.
        shape: of the array; empty for the others.
    """

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, value: Any) -> StatePart:
        """The part that a value of a snapshot belongs to.

        Raises:
            EnvironmentFault: values of this type cannot be kept.
        """
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.kind not in NUMBERS or value.dtype.itemsize > 8 or not value.dtype.isnative:
                raise EnvironmentFault(f"simulator state {name!r} is of {value.dtype}, which a trace cannot keep")
            return cls(name, "array" if isinstance(value, np.ndarray) else "scalar", value.dtype.name, value.shape)
        if type(value) not in (str, int, float, bool):
            raise EnvironmentFault(
                f"simulator state {name!r} is a {type(value).__name__}; "
                "a trace keeps str, int, float, bool and arrays of numbers"
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise EnvironmentFault(f"simulator state {name!r} has more than 64 bits, which a trace cannot keep")
        return cls(name, type(value).__name__)

    @property
    def column(self) -> str:
        """Name of its column."""
        return STATE_PREFIX + self.name

    @property
    def size(self) -> int:
        """Numbers in one value; a part of none has no column."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of its column."""
        if self.kind in PLAIN_COLUMNS:
            return PLAIN_COLUMNS[self.kind]
        value = pa.from_numpy_dtype(np.dtype(self.dtype))
        return pa.list_(value, self.size) if self.kind == "array" else value

    def flat(self, value: Any) -> Any:
        """A value as its column takes it."""
        return value.ravel() if self.kind == "array" else value

    def unpacked(self, column: pa.Array) -> list[Any] | NDArray[Any]:
        """The values of a whole column: a list, or an array whose first axis is the row."""
        if self.kind in PLAIN_COLUMNS:
            values: list[Any] = column.to_pylist()
            return values
        numbers = column.flatten() if self.kind == "array" else column
        array: NDArray[Any] = numbers.to_numpy(zero_copy_only=False)
        return array.reshape(len(column), *self.shape)

    def value(self, values: list[Any] | NDArray[Any], row: int) -> Any:
        """The value of one row, as the snapshot had it; an array is the caller's own."""
        return np.array(values[row]) if self.kind == "array" else values[row]


def layout_of(state: Mapping[str, Any]) -> tuple[StatePart, ...]:
    """The parts of a snapshot.

    Raises:
        EnvironmentFault: it holds something that a trace cannot keep.
    """
    return tuple(StatePart.of(name, value) for name, value in state.items())


class TraceLog:
    """The trace of an episode under way: readable up to where its writer died.

    The file appears with the first row.

    Attributes:
        steps: actions that were added.
    """

    def __init__(self, path: Path, batch_rows: int) -> None:
        """Begin a new trace.

        Args:
            batch_rows: rows that are handed to the operating system at once; a killed process loses fewer than these.
        """
        self.steps = 0
        self._path = path
        self._batch_rows = batch_rows
        self._layout: tuple[StatePart, ...] = ()
        self._log: RowLog | None = None

    def add(self, state: Mapping[str, Any], action: FloatArray) -> None:
        """Add a step.

        Args:
            state: the simulator's before the action.
            action: (A,) float64, as it was sent.

        Raises:
            RecordingError: the file cannot be written, or is there already.
            EnvironmentFault: the state cannot be kept, or its parts differ from those of the first one.
        """
        self._row(state, action, action.size)
        self.steps += 1

    def end(self, state: Mapping[str, Any]) -> None:
        """Add the state after the last action, and close. Does nothing where no action was added.

        Raises:
            As `add` does.
        """
        if self._log is not None:
            self._row(state, None, 0)
        self.close()

    def close(self) -> None:
        """Write what is left, without a last state. Safe to call twice.

        Raises:
            RecordingError: the disk does not take it.
        """
        if self._log is not None:
            self._log.close()

    def _row(self, state: Mapping[str, Any], action: FloatArray | None, action_dim: int) -> None:
        layout = layout_of(state)
        if self._log is None:
            self._layout = layout
            self._log = RowLog(self._path, _schema(layout, action_dim), self._batch_rows)
        elif layout != self._layout:
            raise EnvironmentFault(f"the simulator's state changed its parts: {_first_change(self._layout, layout)}")
        row = {part.column: part.flat(state[part.name]) for part in layout if part.size}
        self._log.add(row | {ACTION: action})


def _first_change(before: tuple[StatePart, ...], now: tuple[StatePart, ...]) -> str:
    old, new = ({part.name: part for part in layout} for layout in (before, now))
    for name in [*old, *new]:
        if old.get(name) != new.get(name):
            return f"{name!r} was {_told(old.get(name))} and is {_told(new.get(name))}"
    return "their order is another"


def _told(part: StatePart | None) -> str:
    if part is None:
        return "missing"
    return f"{part.dtype} of shape {list(part.shape)}" if part.kind == "array" else part.dtype or part.kind


def _schema(layout: tuple[StatePart, ...], action_dim: int) -> pa.Schema:
    fields = [pa.field(part.column, part.arrow_type) for part in layout if part.size]
    fields.append(pa.field(ACTION, pa.list_(pa.float64(), action_dim)))
    mark = {"version": LAYOUT_VERSION, "parts": [asdict(part) for part in layout]}
    return pa.schema(fields, metadata={LAYOUT_KEY: json.dumps(mark)})


def _read_layout(schema: pa.Schema) -> tuple[StatePart, ...]:
    """The parts that a file's metadata names, which its columns are checked against.

    Raises:
        ValueError, KeyError, TypeError: it is not a trace.
    """
    mark = json.loads((schema.metadata or {})[LAYOUT_KEY])
    if mark["version"] != LAYOUT_VERSION:
        raise ValueError(f"it has version {mark['version']}, and this reads {LAYOUT_VERSION}")
    layout = tuple(StatePart(**{**part, "shape": tuple(part["shape"])}) for part in mark["parts"])
    if not schema.field(ACTION).type.equals(pa.list_(pa.float64(), schema.field(ACTION).type.list_size)):
        raise ValueError("its actions are not float64")
    for part in layout:
        if part.size and schema.field(part.column).type != part.arrow_type:
            raise ValueError(f"column {part.column} is {schema.field(part.column).type}, not {part.arrow_type}")
    return layout


def logged_steps(log: Path) -> int:
    """Steps that can be read from the file of a `TraceLog`, also of one that was cut off; 0 where there is no file.

    Raises:
        DatasetError: it cannot be read.
    """
    return _steps(_read_log(log)) if log.exists() else 0


def write_trace(log: Path, target: Path, steps: int | None = None) -> int:
    """Turn the file of a closed `TraceLog`, or of one whose writer died, into a trace; `log` is left as it is.

    The whole file appears at once, in place of one that is there.

    Args:
        steps: only the first so many, with the state after them where it is known; all of them where not given.

    Returns:
        Steps in the trace.

    Raises:
        DatasetError: `log` cannot be read, or holds fewer steps.
        RecordingError: `target` cannot be written.
    """
    table = _read_log(log)
    logged = _steps(table)
    if steps is None:
        steps = logged
    if not 0 < steps <= logged:
        raise DatasetError(f"{log} has {logged} steps of the simulator's trace, and {steps} are wanted")
    make_folder(target.parent)
    written = target.with_name(f".{target.name}.new")
    try:
        _write(_first_steps(table, steps), written)
        replace_durably(written, target)
    except (OSError, pa.ArrowException) as error:
        written.unlink(missing_ok=True)
        raise cannot_write(target, error) from error
    return steps


def _read_log(log: Path) -> pa.Table:
    try:
        table = read_row_log(log)
        _read_layout(table.schema)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{log} is damaged: {one_line(error)}") from error
    return table


def _steps(table: pa.Table) -> int:
    return int(table.num_rows - table.column(ACTION).null_count)


def _first_steps(table: pa.Table, steps: int) -> pa.Table:
    """The first rows, and one more whose action is taken away."""
    table = table.slice(0, steps + 1).combine_chunks()
    place = table.schema.get_field_index(ACTION)
    kind = table.schema.field(place).type
    actions = table.column(place).slice(0, steps).combine_chunks()
    ended = pa.chunked_array([actions, pa.nulls(table.num_rows - steps, kind)])
    return table.set_column(place, table.schema.field(place), ended)


def _write(table: pa.Table, path: Path) -> None:
    leaves = {field.name: _leaf(field) for field in table.schema}
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=[name for name, (_, kind) in leaves.items() if pa.types.is_string(kind)],
        use_byte_stream_split=[leaf for leaf, kind in leaves.values() if kind in (pa.float32(), pa.float64())],
        write_statistics=False,
        write_page_checksum=True,
    )


def _leaf(field: pa.Field) -> tuple[str, pa.DataType]:
    """Parquet's path of a column's values, and their type."""
    if pa.types.is_fixed_size_list(field.type):
        return f"{field.name}.list.element", field.type.value_type
    return field.name, field.type


class Trace:
    """The simulator's states and the actions of an episode.

    Attributes:
        actions: (T, A) float64, as they were sent.
        states: how many states there are: T + 1, or T where the last one is not known.
    """

    def __init__(
        self, actions: FloatArray, states: int, parts: Sequence[tuple[StatePart, list[Any] | NDArray[Any]]]
    ) -> None:
        """From the parts of the state, each with its values at every state."""
        self.actions = actions
        self.states = states
        self._parts = parts

    def __len__(self) -> int:
        """T, the steps."""
        return len(self.actions)

    def state(self, step: int) -> dict[str, Any]:
        """What `snapshot()` gave before action `step`, or, for `step` T, after the last one: types and bits.

        Raises:
            IndexError: there is no such state.
        """
        if not 0 <= step < self.states:
            raise IndexError(f"state {step} of {self.states}")
        return {part.name: part.value(values, step) for part, values in self._parts}

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read one.

        Raises:
            DatasetError: there is none, or it is damaged.
        """
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read()
            layout = _read_layout(table.schema)
            steps = _steps(table)
            _check_rows(table, steps)
            parts = [(part, _values(part, table)) for part in layout]
        except FileNotFoundError as error:
            raise DatasetError(f"there is no trace {path}") from error
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"trace {path} is damaged: {one_line(error)}") from error
        actions = table.column(ACTION).slice(0, steps).combine_chunks()
        numbers = actions.flatten().to_numpy(zero_copy_only=False).reshape(steps, actions.type.list_size)
        return cls(numbers, table.num_rows, parts)


def _check_rows(table: pa.Table, steps: int) -> None:
    if table.num_rows not in (steps, steps + 1) or table.column(ACTION).slice(0, steps).null_count:
        raise ValueError("a row before the last one has no action")
    for name in table.schema.names:
        if name != ACTION and table.column(name).null_count:
            raise ValueError(f"a row has no {name}")


def _values(part: StatePart, table: pa.Table) -> list[Any] | NDArray[Any]:
    if not part.size:
        return np.empty((table.num_rows, *part.shape), part.dtype)
    return part.unpacked(table.column(part.column).combine_chunks())
