"""Datasets on the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taketwo.datasets.card import CARD, dataset_card, is_untouched
from taketwo.datasets.layout import FORMAT_VERSION, check_repo_id
from taketwo.datasets.metadata import EpisodeEntry, Info, load_episodes
from taketwo.datasets.transaction import refuse_pending
from taketwo.errors import ConfigError, DatasetError, MissingExtraError, TakeTwoError, one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

NOT_SENT = (".*", "*/.*", "images/*")
"""Hidden files, which our unfinished work is among, and the folder where LeRobot keeps pictures that it will encode."""

MIRRORED = ("data/*", "meta/*", "videos/*", "traces/*")
"""Where the Hub keeps nothing that is not in the folder. LeRobot reads every file of `data/` and `meta/episodes/`,
so that files which packing made superfluous would bring old rows back."""


@dataclass(frozen=True)
class Push:
    """What is sent where.

    Attributes:
        root: the dataset's folder.
        repo_id: `user/name`, or `name` for one's own.
        private: whether a repository that is made now is private.
        tags: of the card, besides its own.
        license: of the card.
        branch: made where it is missing; None is the main one.
    """

    root: Path
    repo_id: str
    private: bool = False
    tags: tuple[str, ...] = ()
    license: str = "apache-2.0"
    branch: str | None = None

    @property
    def command(self) -> str:
        """The command line that does the same."""
        words = ["taketwo", "dataset", "push", str(self.root), f"--repo_id={self.repo_id}"]
        words += ["--private=true"] if self.private else []
        words += [f"--tags=[{', '.join(self.tags)}]"] if self.tags else []
        words += [f"--license={self.license}"] if self.license != Push.license else []
        words += [f"--branch={self.branch}"] if self.branch else []
        return shlex.join(words)

    def failed(self, what: str) -> DatasetError:
        """The error for what kept it from being sent, with the way on."""
        return DatasetError(f"{what}. Nothing is lost: the dataset is in {self.root}. Send it later by: {self.command}")


def push_to_hub(
    root: Path,
    repo_id: str,
    *,
    private: bool = False,
    tags: Sequence[str] = (),
    license: str = "apache-2.0",  # noqa: A002 - the Hub's word
    branch: str | None = None,
) -> str:
    """Send a dataset to the Hugging Face Hub: its files, a card that tells what it is, and LeRobot's tag `v3.0`.

    What the Hub has already is not sent again, so that a push which failed half-way goes on where it was. The tag,
    by which LeRobot loads a dataset, is moved last: until then, whoever loads it gets the former version. Files of
    the dataset that are no longer in the folder are removed there too; the Hub keeps every version. A card that
    a person wrote, in the folder or on the Hub, stays as it is. Nothing in the folder is changed.

    Args:
        root: the dataset's folder.
        repo_id: `user/name`, or `name` for one's own.
        private: make the repository a private one; one that is there already is not changed.
        tags: for the card, besides `LeRobot` and `taketwo`.
        license: for the card: its identifier on the Hub.
        branch: send to this branch, made where it is missing; None for the main one.

    Returns:
        The dataset's URL.

    Raises:
        ConfigError: the repo id or the license is not one.
        DatasetError: there is no dataset, it is damaged, empty or in the middle of a change; or it could not be sent:
            not logged in, no network, refused by the Hub, and so on.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    check_repo_id(repo_id)
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise ConfigError(
            f"license {license!r} is not an identifier of the Hub, such as apache-2.0, cc-by-4.0 or other"
        )
    check_complete(root)
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "hub") from error
    push = Push(root, repo_id, private, tuple(tags), license, branch)
    if huggingface_hub.get_token() is None:
        raise push.failed("You are not logged in to the Hugging Face Hub: run `hf auth login` once")
    try:
        return _send(push, huggingface_hub.HfApi())
    except TakeTwoError:
        raise
    except Exception as error:
        raise push.failed(_what_happened(error, repo_id)) from error


def check_complete(root: Path) -> None:
    """Refuse to send what LeRobot could not load.

    Raises:
        DatasetError: there is no dataset, it has no episodes, a file of them is missing, or a change of it was
            interrupted.
    """
    info = Info.load(root)
    refuse_pending(root)
    entries = load_episodes(root, info)
    if not entries:
        raise DatasetError(f"{root} has no episodes yet: record one first")
    missing = sorted(path for path in _named_files(info, entries) if not (root / path).is_file())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DatasetError(
            f"{root} is not whole: {missing[0]}{more} is missing: copy it back, or take its episodes out with "
            "taketwo dataset delete-episodes"
        )


def _named_files(info: Info, entries: Sequence[EpisodeEntry]) -> set[str]:
    videos = {info.video_file(key, span.place) for entry in entries for key, span in entry.videos.items()}
    return videos | {info.data_file(entry.data) for entry in entries}


def _send(push: Push, api: HfApi) -> str:
    repo_id = push.repo_id if "/" in push.repo_id else f"{api.whoami()['name']}/{push.repo_id}"
    card = dataset_card(push.root, repo_id, push.license, push.tags)
    if push.private:
        _refuse_public(push, api, repo_id)
    url = api.create_repo(repo_id, repo_type="dataset", private=push.private, exist_ok=True)
    if push.branch:
        api.create_branch(repo_id, branch=push.branch, repo_type="dataset", exist_ok=True)
    api.upload_folder(
        repo_id=repo_id,
        folder_path=push.root,
        repo_type="dataset",
        revision=push.branch,
        commit_message="Dataset sent by Take Two",
        ignore_patterns=[*NOT_SENT] if _has_card_by_person(push.root) else [*NOT_SENT, CARD],
        delete_patterns=[*MIRRORED],
    )
    _send_card(push, api, repo_id, card)
    _move_tag(push, api, repo_id)
    return str(url)


def _refuse_public(push: Push, api: HfApi, repo_id: str) -> None:
    """A dataset that shall be private is not put where everybody sees it, only because that was there before."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type="dataset")
    except RepositoryNotFoundError:
        return
    if not info.private:
        raise push.failed(f"{repo_id} on the Hub is public, and private was asked for: change it in its settings there")


def _has_card_by_person(root: Path) -> bool:
    path = root / CARD
    return path.exists() and not is_untouched(path.read_text(encoding="utf-8", errors="replace"))


def _send_card(push: Push, api: HfApi, repo_id: str, card: str) -> None:
    there = _card_there(push, api, repo_id)
    if there is None or (there != card and is_untouched(there)):
        api.upload_file(
            path_or_fileobj=card.encode(),
            path_in_repo=CARD,
            repo_id=repo_id,
            repo_type="dataset",
            revision=push.branch,
            commit_message="Dataset card by Take Two",
        )


def _card_there(push: Push, api: HfApi, repo_id: str) -> str | None:
    if not api.file_exists(repo_id, CARD, repo_type="dataset", revision=push.branch):
        return None
    # Into a folder of its own: from its cache it would give an old one, where the network fails.
    with tempfile.TemporaryDirectory() as folder:
        path = api.hf_hub_download(repo_id, CARD, repo_type="dataset", revision=push.branch, local_dir=folder)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def _move_tag(push: Push, api: HfApi, repo_id: str) -> None:
    from huggingface_hub.errors import RevisionNotFoundError

    with contextlib.suppress(RevisionNotFoundError):
        api.delete_tag(repo_id, tag=FORMAT_VERSION, repo_type="dataset")
    api.create_tag(repo_id, tag=FORMAT_VERSION, revision=push.branch, repo_type="dataset")


def _what_happened(error: BaseException, repo_id: str) -> str:
    """In one sentence. HTTP is by `requests` in huggingface_hub 0.x, and by others since, so names tell the kind."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    causes = list(_causes(error))
    for cause in causes:
        kinds = {kind.__name__ for kind in type(cause).__mro__}
        if isinstance(cause, OfflineModeIsEnabled):
            return "The Hub is switched off: HF_HUB_OFFLINE is set"
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            return _refused(
                cause.response.status_code, getattr(cause, "server_message", None) or one_line(cause), repo_id
            )
        if kinds & {"Timeout", "TimeoutException", "TimeoutError"}:
            return "The Hub did not answer in time"
        if kinds & {"TransportError", "ConnectionError"}:
            return f"The Hub cannot be reached, or the connection broke: {_reason(causes)}"
    return f"It could not be sent: {type(error).__name__}: {one_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(causes: Sequence[BaseException]) -> str:
    """What the system said, if it did: the libraries above wrap it in lines of their own."""
    said = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return said[-1] if said else one_line(causes[-1])


def _refused(status: int, said: str, repo_id: str) -> str:
    if status == 401:
        return "The Hub does not know your token (401): log in again by `hf auth login`"
    if status == 403:
        return f"You may not write {repo_id} on the Hub (403): check its name, or log in with a token that may write"
    if status == 404:
        return f"The Hub has no place for {repo_id} (404): check its name"
    if status == 429:
        return "The Hub asks to wait, for there were too many requests (429)"
    if status >= 500:
        return f"The Hub is in trouble ({status})"
    return f"The Hub refused ({status}): {one_line(said)}"
