"""What `taketwo records` prints of a recording: a table of its clients, or its requests one by one."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from taketwo.cli.dataset_output import UNBROKEN_WIDTH, print_facts
from taketwo.cli.tables import print_table
from taketwo.cli.wording import said_bytes, said_count, said_seconds
from taketwo.errors import quoted, shortened
from taketwo.recording.plain import to_json
from taketwo.serving.records_reader import Record, RecordsError, actions_of, message_of, read_runs, recording_files
from taketwo.serving.records_summary import ClientSummary, RunSummary, pictures_in, summarize

SHOWN_CHARACTERS = 80
"""Length at which prompts and names are cut off; --json has them whole."""

SAID_CHARACTERS = 200
"""Length at which error messages and options are cut off; --json has them whole."""

SHOWN_LINES = 10
"""Lines about prompts, pictures or errors of a run that are shown; --json has all."""

LEFT = ("chunk", "address")
COLUMNS = ("client", "began", "lasted", "requests", "resets", "errors", "infer ms", "queue ms", "batch", *LEFT)

REQUEST = "inference"

LINE = "{:<12}  {:>6}  {:>7}  {:<8}  {:>8}  {:>8}  {:>5}  {}"
"""Of a request."""

_Line = Mapping[str, Any]


def list_runs(path: Path, client: int | None, as_json: bool) -> None:
    """Print each run's clients.

    Raises:
        RecordsError: it cannot be read, or has no such client.
    """
    files = recording_files(path)
    runs = [summarize(run, client) for run in read_runs(path)]
    if client is not None and not any(run.clients for run in runs):
        raise RecordsError(f"{path} has no client {client}")
    size = sum(file.stat().st_size for file in files if file.exists())
    if as_json:
        print(to_json({"path": path, "files": len(files), "bytes": size, "runs": list(map(_plain, runs))}, indent=2))
        return
    for run in runs:
        print_run(run.header)
        _print_clients(run)
    _print_totals(path, runs, len(files), size)


def list_requests(path: Path, client: int | None, first: int | None, last: int | None, as_json: bool) -> None:
    """Print a line for each request, reset and error.

    Args:
        first: only up to this request of each run.
        last: only from this request of each run on, counted from its end.

    Raises:
        RecordsError: it cannot be read, or has no such client.
    """
    found = client is None
    for run in read_runs(path):
        records = (record for record in run.records if client in (None, record.get("client")))
        begin = next(records, None)
        if begin is None and client is not None:
            continue
        found = True
        lines: Iterable[_Line] = _lines(itertools.chain([] if begin is None else [begin], records))
        if first is not None:
            lines = _to_request(lines, first)
        if last is not None:
            lines = _from_request(lines, last)
        if as_json:
            for line in lines:
                print(to_json(line))
        else:
            print_run(run.header)
            _print_requests(lines)
    if not found:
        raise RecordsError(f"{path} has no client {client}")


def print_run(header: Record) -> None:
    """Print which server it was, with which policy."""
    facts = [
        ("server", f"taketwo {header.get('taketwo', '')}, started {_said_date(header['time'])}"),
        ("policy", said_component(header["policy"])),
        ("environment", said_component(header["env"])),
    ]
    if header.get("default_prompt") is not None:
        facts.append(("default prompt", quoted(header["default_prompt"], SHOWN_CHARACTERS)))
    print_facts(facts)
    print()


def said_component(plain: Mapping[str, Any]) -> str:
    """A policy or an environment with its options, shortened."""
    options = [
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in plain.items()
        if name != "type" and value not in (None, [], {})
    ]
    return shortened(", ".join([str(plain.get("type")), *options]), SAID_CHARACTERS)


def _print_clients(run: RunSummary) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not run.clients:
        print("no client came\n")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in LEFT else "right")
    for client in run.clients:
        table.add_row(*map(Text, _cells(client)))
    print_table(
        Console(highlight=False, width=UNBROKEN_WIDTH), table
    )  # a narrow terminal breaks lines, and cuts nothing
    print("infer and queue: median / 99th percentile\n")
    notes = list(_notes(run))
    if notes:
        print_facts(notes)
        print()


def _cells(client: ClientSummary) -> list[str]:
    return [
        str(client.number),
        f"{datetime.fromtimestamp(client.began):%H:%M:%S}",
        said_seconds(client.ended - client.began),
        str(client.requests),
        str(client.resets),
        str(client.errors.total()),
        " / ".join(map(_said_ms, _percentiles(client.infer_ms).values())),
        " / ".join(map(_said_ms, _percentiles(client.queue_ms).values())),
        f"{fmean(client.batch_sizes):.1f}" if client.batch_sizes else "",
        ", ".join(map(_said_shape, client.chunks)),
        client.address or "",
    ]


def _notes(run: RunSummary) -> Iterator[tuple[str, str]]:
    """What does not fit into the table, each kind with its label before the first line."""
    prompts = (
        f"client {client.number}, from request {change.request} on: {_said_prompt(change.prompt, change.source)}"
        for client in run.clients
        for change in client.prompts
    )
    errors = (
        f"client {client.number}: {shortened(message, SAID_CHARACTERS)}{f' ({times} times)' if times > 1 else ''}"
        for client in run.clients
        for message, times in client.errors.items()
    )
    for label, lines in (("prompts", prompts), ("pictures", _pictures(run.clients)), ("errors", errors)):
        yield from zip(itertools.chain([label], itertools.repeat("")), _first_of(lines), strict=False)
    if run.dropped:
        yield "missing", f"{said_count(run.dropped, 'record')}, which came faster than the disk took them"


def _pictures(clients: Sequence[ClientSummary]) -> Iterator[str]:
    pictures: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for client in clients:
        pictures.update(client.pictures)
    for (name, shape), count in pictures.items():
        yield f"{shortened(name, SHOWN_CHARACTERS)} {_said_shape(shape)} in {said_count(count, 'request')}"


def _print_totals(path: Path, runs: Sequence[RunSummary], files: int, size: int) -> None:
    clients = [client for run in runs for client in run.clients]
    counts = [
        said_count(sum(client.requests for client in clients), "request"),
        said_count(sum(client.resets for client in clients), "reset"),
        said_count(sum(client.errors.total() for client in clients), "error"),
    ]
    in_runs = f" in {len(runs)} runs of the server" if len(runs) > 1 else ""
    print_facts(
        [
            ("total", f"{', '.join(counts)} of {said_count(len(clients), 'client')}{in_runs}"),
            ("recording", f"{path}: {said_count(files, 'file')}, {said_bytes(size)}"),
        ]
    )


def _lines(records: Iterable[Record]) -> Iterator[_Line]:
    """What is told of each request, reset and error."""
    counts: Counter[int] = Counter()
    for record in records:
        number = record.get("client")
        if not isinstance(number, int):
            continue
        line = {"time": record["time"], "client": number, "kind": record["kind"]}
        match record["kind"]:
            case "reset":
                yield line | {"index": record["index"], "seed": record["seed"]}
            case "error":
                yield line | {"message": record["message"]}
            case "inference":
                counts[number] += 1
                yield line | {
                    "request": counts[number],
                    "chunk": actions_of(record).shape,
                    **{name: record[name] for name in ("infer_ms", "queue_ms", "batch_size")},
                    **{name: record.get(name) for name in ("prompt_used", "prompt_source")},
                    "pictures": dict(pictures_in(message_of(record, "request"))),
                }


def _to_request(lines: Iterable[_Line], count: int) -> Iterator[_Line]:
    """The first requests, and what comes before and between them."""
    for line in lines:
        yield line
        count -= line["kind"] == REQUEST
        if not count:
            return


def _from_request(lines: Iterable[_Line], count: int) -> Iterable[_Line]:
    """The last requests, and what comes between and after them."""
    kept: deque[_Line] = deque()
    requests = 0
    for line in lines:
        kept.append(line)
        requests += line["kind"] == REQUEST
        if requests > count:
            requests -= 1
            while kept.popleft()["kind"] != REQUEST:
                pass
            while kept[0]["kind"] != REQUEST:
                kept.popleft()
    return kept


def _print_requests(lines: Iterable[_Line]) -> None:
    """As they are read: a recording may have more of them than memory has room for."""
    print(LINE.format("time", "client", "request", "chunk", "infer ms", "queue ms", "batch", "prompt"))
    prompts: dict[int, tuple[str | None, str | None]] = {}
    for line in lines:
        moment = f"{datetime.fromtimestamp(line['time']):%H:%M:%S.%f}"[:12]
        match line["kind"]:
            case "reset":
                print(f"{moment}  {line['client']:>6}  reset: episode {line['index']}, seed {line['seed']}")
            case "error":
                print(f"{moment}  {line['client']:>6}  error: {shortened(line['message'], SAID_CHARACTERS)}")
            case _:
                prompt = line["prompt_used"], line["prompt_source"]
                said = "same" if prompts.get(line["client"]) == prompt else _said_prompt(*prompt)
                prompts[line["client"]] = prompt
                times = _said_ms(line["infer_ms"]), _said_ms(line["queue_ms"])
                shape = _said_shape(line["chunk"])
                print(LINE.format(moment, line["client"], line["request"], shape, *times, line["batch_size"], said))
    print()


def _plain(run: RunSummary) -> dict[str, Any]:
    return {**run.header, "clients": list(map(_plain_client, run.clients)), "dropped": run.dropped}


def _plain_client(client: ClientSummary) -> dict[str, Any]:
    return {
        "client": client.number,
        "address": client.address,
        "began": client.began,
        "ended": client.ended,
        "requests": client.requests,
        "resets": client.resets,
        "errors": dict(client.errors),
        "infer_ms": _percentiles(client.infer_ms),
        "queue_ms": _percentiles(client.queue_ms),
        "batch_size": fmean(client.batch_sizes) if client.batch_sizes else None,
        "prompts": [asdict(change) for change in client.prompts],
        "chunks": [{"shape": shape, "requests": count} for shape, count in client.chunks.items()],
        "pictures": [
            {"name": name, "shape": shape, "requests": count} for (name, shape), count in client.pictures.items()
        ],
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile; empty where there are no values."""
    return {"median": float(np.median(values)), "p99": float(np.percentile(values, 99))} if values else {}


def _said_ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 10 else f"{milliseconds:.1f}"


def _said_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _said_prompt(prompt: str | None, source: str | None) -> str:
    return "none" if prompt is None else f"{quoted(prompt, SHOWN_CHARACTERS)} ({source})"


def _said_date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _first_of(lines: Iterable[str]) -> list[str]:
    """The first lines, and how many more there are."""
    every = list(lines)
    more = len(every) - SHOWN_LINES
    return every if more <= 0 else [*every[:SHOWN_LINES], f"and {more} more: --json has all of them"]
