"""How the viewer's window is divided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taketwo.datasets.features import ACTION, ASKED, CAPTURE_TIME, IMAGE_PREFIX, STATE
from taketwo.viewing.signals import EVENTS, VECTORS, Signal

if TYPE_CHECKING:
    import rerun.blueprint as rrb

ABOUT = "about"
TASK = "task"

TITLES = {STATE: "state", ACTION: "action (sent)", ASKED: "action (asked for)"}

TIMELINE = "timestamp"


def blueprint(cameras: Sequence[str], signals: Sequence[Signal], logs: Sequence[str] = (TASK,)) -> rrb.Blueprint:
    """Cameras on top, below them the plots, and at the bottom a strip of events, tasks and what is told of the episode.

    `capture_time` is logged, and has no plot: a straight line says nothing.

    Args:
        cameras: entities with pictures.
        logs: entities with text that is told over time, in one view.
    """
    import rerun as rr
    import rerun.blueprint as rrb

    def path(key: str) -> str:
        return rr.new_entity_path([key])

    keys = [signal.key for signal in signals]
    rows: list[tuple[float, rrb.Container | rrb.View]] = []
    if cameras:
        views = [rrb.Spatial2DView(origin=path(key), name=key.removeprefix(IMAGE_PREFIX)) for key in cameras]
        rows.append((5, rrb.Grid(*views, name="cameras")))
    plots: list[rrb.Container | rrb.View] = [
        rrb.TimeSeriesView(origin=path(key), name=TITLES[key]) for key in VECTORS if key in keys
    ]
    others = [
        rrb.TimeSeriesView(origin=path(key), name=key) for key in keys if key not in (*VECTORS, *EVENTS, CAPTURE_TIME)
    ]
    if others:
        plots.append(rrb.Tabs(*others, name="other columns"))
    if plots:
        rows.append((4, rrb.Horizontal(*plots, name="plots")))
    strip: list[rrb.View] = [
        rrb.TextLogView(origin="/", contents=list(logs), name=", ".join(logs)),
        rrb.TextDocumentView(origin=ABOUT, name="about"),
    ]
    shares = [2.0 * len(logs), 3.0]
    events = [key for key in EVENTS if key in keys]
    if events:
        strip.insert(0, rrb.TimeSeriesView(origin="/", contents=[path(key) for key in events], name="events"))
        shares.insert(0, 4.0)
    rows.append((3, rrb.Horizontal(*strip, column_shares=shares, name="episode")))
    return rrb.Blueprint(
        rrb.Vertical(*(part for _, part in rows), row_shares=[share for share, _ in rows]),
        rrb.SelectionPanel(state="collapsed"),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=TIMELINE),
    )
