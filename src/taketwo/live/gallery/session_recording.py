"""A session with its own file: what that tells, its film, and the dataset that it was recorded as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from taketwo.datasets.reader import Dataset, RecordedEpisode
from taketwo.errors import DatasetError
from taketwo.live.gallery.dataset_recording import env_of, listed_of_dataset
from taketwo.live.gallery.films import Film, FilmedPart, FilmRates, filmed_parts
from taketwo.live.gallery.folder import NotInGalleryError, shown
from taketwo.live.gallery.links import Links
from taketwo.live.gallery.recording import Listed, Overview, detail
from taketwo.live.gallery.shelf import Card, RecordedSession, Shelf
from taketwo.live.gallery.told import ToldEpisode, ToldSession, environment_of, policy_of
from taketwo.live.gallery.tracks import Tracks
from taketwo.types import Outcome

UNKNOWN_CAMERA = "video"


@dataclass(frozen=True)
class SessionRecording:
    """A session with its own file.

    Attributes:
        recorded: where it was recorded as a dataset, if it was.
    """

    id: str
    path: Path
    told: ToldSession
    film: Film
    recorded: tuple[Card, RecordedSession] | None
    shelf: Shelf
    rates: FilmRates
    links: Links

    def overview(self) -> dict[str, Any]:
        """Its line in the list."""
        return self._overview().plain()

    def detail(self) -> dict[str, Any]:
        """Its episodes, and then those of the dataset that its file does not tell: they were mended after a crash."""
        tracks = Tracks(self.links.media)
        card, session = self.recorded or (None, None)
        note, signals = None, None
        with ExitStack() as stack:
            dataset = None
            if card is not None:
                try:
                    dataset = stack.enter_context(self.shelf.open(card))
                    signals = card.signals(session)
                except DatasetError as error:
                    note = str(error)
            episodes = [self._plain(listed, dataset, tracks) for listed in self._listed(dataset)]
        overview = self._overview(note).plain()
        fps = self._film_fps if self.film else card.info.fps if card and card.info else None
        return overview | detail(self._control_hz, fps, self.told.config, signals, tracks.videos, episodes)

    def rows(self, episode: int) -> tuple[Card, int]:
        """The dataset that has an episode's rows, and its index there."""
        if self.recorded is None:
            raise NotInGalleryError(f"session {self.path.stem} was not recorded as a dataset, or that is not here")
        card, _ = self.recorded
        with self.shelf.open(card) as dataset:
            for listed in self._listed(dataset):
                if listed.index == episode and listed.number is not None:
                    return card, listed.number
        raise NotInGalleryError(f"the dataset of session {self.path.stem} has no episode {episode}")

    def _overview(self, note: str | None = None) -> Overview:
        told = self.told
        card, _ = self.recorded or (None, None)
        return Overview(
            id=self.id,
            name=shown(Path(self.path.stem)),
            environment=told.environment or environment_of(told.config),
            policy=policy_of(told.config),
            seed=told.seed,
            started=told.started_at.timestamp(),
            complete=told.complete,
            reason=told.reason,
            outcomes=[episode.outcome for episode in told.episodes],
            num_envs=told.num_envs,
            duration_s=self._duration_s,
            has_video=bool(self.film) or bool(card and card.info and card.info.videos),
            has_signals=card is not None and note is None,
            note=note,
        )

    @property
    def _duration_s(self) -> float | None:
        if self.told.video is not None and self.told.video.fps:
            return self.told.video.duration_s
        parts, fps = filmed_parts(self.told), self._film_fps
        return parts[-1].end / fps if parts and fps else None

    @cached_property
    def _film_fps(self) -> float | None:
        """Pictures a second; of a session that is not filmed, those that it would have."""
        if self.told.video is not None and self.told.video.fps:
            return self.told.video.fps
        if self.recorded is not None and (info := self.recorded[0].info) is not None:
            return info.fps / self.told.subsample
        return self.rates.of(self.film.first) if self.film.first is not None else None

    @property
    def _control_hz(self) -> float | None:
        return self._film_fps * self.told.subsample if self._film_fps else None

    def _listed(self, dataset: Dataset | None) -> Sequence[Listed]:
        """The episodes: as they came, or environment by environment, where their places in the list are their names."""
        numbers, others = self._matched(dataset)
        listed = [self._of_told(told, number) for told, number in zip(self.told.episodes, numbers, strict=True)]
        for episode in others:
            env = env_of(episode)
            number = 1 + max((told.episode for told in listed if (told.env or 0) == env), default=-1)
            listed.append(listed_of_dataset(episode, number, env if self._several else None, number))
        if not self._several:
            return listed
        listed.sort(key=lambda episode: episode.env or 0)
        return [replace(episode, index=index) for index, episode in enumerate(listed)]

    def _of_told(self, told: ToldEpisode, number: int | None) -> Listed:
        part = self._parts.get(id(told))
        return Listed(
            index=told.index,
            env=told.env if self._several else None,
            episode=told.index,
            seed=told.seed,
            outcome=told.outcome,
            reason=told.reason,
            steps=told.steps,
            first_frame=part.start if part else None,
            frames=part.frames if part else None,
            prompts=told.prompts,
            reward_max=told.reward_max,
            number=number,
            part=part,
        )

    def _matched(self, dataset: Dataset | None) -> tuple[Sequence[int | None], Sequence[RecordedEpisode]]:
        """For each of the session's episodes its index in the dataset, and the session's episodes there that are left.

        Both have those of an environment in the order in which they were recorded. A discarded one, and one without a
        step, is in no dataset; others may have been deleted since.
        """
        if dataset is None or self.recorded is None:
            return [None] * len(self.told.episodes), []
        session = self.recorded[1].number
        there = [episode for episode in dataset.episodes if episode.note and episode.note.session == session]
        numbers: list[int | None] = []
        for told in self.told.episodes:
            place = next((place for place, episode in enumerate(there) if _is_same(told, episode)), None)
            numbers.append(None if place is None else there.pop(place).index)
        return numbers, there

    def _plain(self, listed: Listed, dataset: Dataset | None, tracks: Tracks) -> dict[str, Any]:
        spans = list(self._film_spans(listed, tracks))
        if dataset is None or self.recorded is None or listed.number is None:
            return listed.plain(spans, None)
        card, _ = self.recorded
        entry = dataset.episodes[listed.number].entry
        without = self._filmed if spans and not self._several else ()
        spans += tracks.of_dataset(self.shelf, card, entry, listed.index, without)
        beside = (self.path.parent, card.root.parent)
        return listed.plain(spans, self.links.rerun(self.id, listed.index, card, listed.number, beside))

    def _film_spans(self, listed: Listed, tracks: Tracks) -> Iterator[dict[str, Any]]:
        fps = self._film_fps
        part = listed.part
        if not fps or part is None or not part.frames:
            return
        name = " + ".join(self._filmed) or UNKNOWN_CAMERA
        if self.film.session is not None:
            yield tracks.span(name, self.film.session, listed.index, part.start / fps, part.end / fps)
        elif listed.episode in self.film.episodes and listed.outcome != Outcome.DISCARDED:  # its film was removed
            yield tracks.span(name, self.film.episodes[listed.episode], listed.index, 0.0, part.frames / fps)

    @cached_property
    def _parts(self) -> dict[int, FilmedPart]:
        """Where the filmed episodes are in the film, by the identity of what was told of them."""
        parts = filmed_parts(self.told)
        return {id(told): part for told, part in zip(self.told.shown, parts, strict=True)}

    @cached_property
    def _several(self) -> bool:
        """Whether several environments step together."""
        return self.told.num_envs > 1

    @cached_property
    def _filmed(self) -> tuple[str, ...]:
        """The cameras that the film shows: those that were chosen, or else the environment's first one."""
        chosen = _texts(self.told.setting("video", "cameras"))
        carried = _texts(self.told.setting("env", "cameras")) or (self.recorded[1].cameras if self.recorded else ())
        return chosen or carried[:1]


def _is_same(told: ToldEpisode, episode: RecordedEpisode) -> bool:
    note = episode.note
    return (
        told.outcome != Outcome.DISCARDED
        and note is not None
        and (note.env, note.seed, note.length, note.outcome) == (told.env, told.seed, told.steps, told.outcome)
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
