"""What a server's log tells of prompts: which one was used, when it changes and every so often."""

from __future__ import annotations

import logging

from taketwo.errors import quoted
from taketwo.policies.prompting import EffectivePrompt

log = logging.getLogger("taketwo.serve")

SHOWN_CHARACTERS = 120
"""Length at which a prompt is cut off in the log; what the policy gets is never cut."""


class PromptLog:
    """Tells the prompts of one client."""

    def __init__(self, client: int, every_n: int) -> None:
        """Tell a prompt that stays the same every `every_n` requests; 0 tells only changes."""
        self._client = client
        self._every_n = every_n
        self._requests = 0
        self._last: EffectivePrompt | None = None

    def saw(self, prompt: EffectivePrompt) -> None:
        """A request was answered with this prompt."""
        changed = prompt != self._last
        due = self._every_n and self._requests % self._every_n == 0
        self._requests += 1
        self._last = prompt
        if changed or due:
            log.info("client %d, request %d, prompt used: %s", self._client, self._requests, said(prompt))


def said(prompt: EffectivePrompt) -> str:
    """A prompt with its source, in one short line."""
    if prompt.text is None:
        return "none"
    ignored = ", which the policy does not read" if prompt.read is False else ""
    return f"{quoted(prompt.text, SHOWN_CHARACTERS)} (from {prompt.source}{ignored})"
