"""What the command knows of its trials: a SQLite file, one row a trial, written as trials begin and end.

The folders of the finished trials are what counts; the ledger is brought in line with them when a run goes on. Anybody
may read it meanwhile: `sqlite3 ledger.sqlite 'select state, count(*) from trials group by state'`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Self

from taketwo.errors import TakeTwoError
from taketwo.fleet.trials import Trial, TrialResult
from taketwo.recording.naming import cannot_write
from taketwo.recording.plain import to_json

SCHEMA = """
create table if not exists facts (name text primary key, value text not null);
create table if not exists trials (
    trial integer primary key,
    task text not null,
    seed integer not null,
    number integer not null,
    state text not null default 'open' check (state in ('open', 'running', 'done')),
    attempts integer not null default 0,
    worker text,
    outcome text,
    result text
);
"""


class Ledger:
    """The rows of a plan. Written by one process."""

    def __init__(self, path: Path, fingerprint: str, trials: Sequence[Trial]) -> None:
        """Open it, or make it.

        Raises:
            TakeTwoError: it is another plan's, or damaged.
            RecordingError: the disk does not take it.
        """
        self._path = path
        with self._telling():
            self._file = sqlite3.connect(path, isolation_level=None)
            self._file.execute("pragma journal_mode=wal")
            self._file.execute("pragma synchronous=normal")
            self._file.executescript(SCHEMA)
        found = self.fact("fingerprint")
        if found is not None and found != fingerprint:
            self.close()
            raise TakeTwoError(f"{path} is the ledger of another plan: give another --output_dir")
        with self._changing():
            self._set_fact("fingerprint", fingerprint)
            self._file.executemany(
                "insert or ignore into trials (trial, task, seed, number) values (?, ?, ?, ?)",
                ((trial.index, trial.task, trial.seed, trial.number) for trial in trials),
            )

    def begin(self, trial: int, worker: str) -> None:
        """A worker has been given a trial."""
        self._change("update trials set state = 'running', attempts = attempts + 1, worker = ? where trial = ?",
                     worker, trial)  # fmt: skip

    def give_back(self, trial: int) -> None:
        """A trial is to be run again."""
        self._change("update trials set state = 'open' where trial = ?", trial)

    def take_back(self) -> None:
        """Trials that were under way when a command ended are to be run again; that they were begun does not count."""
        self._change("update trials set state = 'open', attempts = attempts - 1 where state = 'running'")

    def reopen(self, trial: int) -> None:
        """A trial is to be run as if it had never been."""
        self._change(
            "update trials set state = 'open', attempts = 0, worker = null, outcome = null, result = null "
            "where trial = ?", trial,
        )  # fmt: skip

    def finish(self, result: TrialResult) -> None:
        """A trial has ended."""
        self._change(
            "update trials set state = 'done', worker = ?, outcome = ?, result = ? where trial = ?",
            result.worker, str(result.outcome), to_json(asdict(result)), result.trial,
        )  # fmt: skip

    def attempts(self, trial: int) -> int:
        """How often a trial was begun."""
        with self._telling():
            (count,) = self._file.execute("select attempts from trials where trial = ?", (trial,)).fetchone()
        return int(count)

    def done(self) -> set[int]:
        """The trials that have ended."""
        with self._telling():
            return {trial for (trial,) in self._file.execute("select trial from trials where state = 'done'")}

    def fact(self, name: str) -> str | None:
        """Something that is kept of the whole run."""
        with self._telling():
            row = self._file.execute("select value from facts where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Keep something of the whole run."""
        with self._changing():
            self._set_fact(name, value)

    def close(self) -> None:
        """Free the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_fact(self, name: str, value: str) -> None:
        self._file.execute("insert or replace into facts values (?, ?)", (name, value))

    def _change(self, statement: str, *values: object) -> None:
        with self._telling():
            self._file.execute(statement, values)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._telling():
            self._file.execute("begin immediate")
            try:
                yield
            except BaseException:
                if self._file.in_transaction:  # a full disk may have ended it already
                    self._file.execute("rollback")
                raise
            self._file.execute("commit")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # a full disk is one
            raise cannot_write(self._path, error) from error
        except sqlite3.DatabaseError as error:
            raise TakeTwoError(
                f"{self._path} is damaged ({error}): remove it, and it is made again from the finished episodes"
            ) from error
