"""A client that keeps an HTTP server: one connection that stays open, and another when the server was lost."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import logging
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

from taketwo.errors import PolicyError, one_line
from taketwo.wire.client import ASKED_AT_MOST, FIRST_DELAY_S, LONGEST_DELAY_S

if TYPE_CHECKING:
    from taketwo.policies.openvla_rest import Address

log = logging.getLogger(__name__)

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes; an action has about a hundred."""


class Lost(Exception):
    """The server cannot be reached, or went away in mid-request; trying again may help."""


class HttpClient:
    """Posts to one address. One thread at a time has its request answered; `close` may be called from any thread.

    `deploy.py` runs on uvicorn, which hangs up on whoever was silent for 5 seconds. So a kept connection that turns out
    to be closed is replaced at once and without a word; only a server that does not take the new one counts as lost.
    """

    def __init__(
        self,
        address: Address,
        *,
        connect_timeout_s: float,
        reconnect_timeout_s: float,
        first_answer_timeout_s: float,
        answer_timeout_s: float,
    ) -> None:
        """Nothing is sent until `connect`.

        Args:
            connect_timeout_s: how long to wait for a server that does not answer yet.
            reconnect_timeout_s: how long to try to get a lost server back; 0 gives up at once.
            first_answer_timeout_s: limit for the first answer, and that after the server was lost.
            answer_timeout_s: limit for every other answer.
        """
        self.name = str(address)
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._reconnect_timeout_s = reconnect_timeout_s
        self._first_answer_timeout_s = first_answer_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._warm = False  # whether it has answered before

    def connect(self) -> None:
        """Connect, trying again until `connect_timeout_s` is over.

        Raises:
            PolicyError: nobody answers.
        """
        with self._turn:
            try:
                self._open_within(self._connect_timeout_s)
            except Lost as cause:
                raise PolicyError(
                    f"no policy server answers at {self.name}: {cause}; "
                    "start one or check --policy.host and --policy.port"
                ) from cause

    def post(self, body: bytes) -> bytes:
        """The answer's body. Where the server is lost it is asked again, so asking must do no harm twice.

        Raises:
            PolicyError: no answer came in time, or the server refuses the request.
        """
        with self._turn:
            self._raise_if_closed()
            if self._connection is not None:
                with contextlib.suppress(Lost):
                    return self._exchange(body)
                self._raise_if_closed()
            return self._persistently(body)

    def close(self) -> None:
        """Disconnect; a `post` under way in another thread ends with a PolicyError. Safe to call twice."""
        self._closed.set()
        if not self._turn.acquire(blocking=False):
            self._interrupt()
            return
        try:
            self._drop()
        finally:
            self._turn.release()

    def _persistently(self, body: bytes) -> bytes:
        for attempt in itertools.count(1):
            try:
                if self._connection is None:
                    self._open(self._connect_timeout_s)
                return self._exchange(body)
            except Lost as lost:
                self._raise_if_closed()
                if attempt == ASKED_AT_MOST or self._reconnect_timeout_s == 0:
                    times = f" {attempt} times" if attempt > 1 else ""
                    raise PolicyError(f"the policy server at {self.name} was lost{times}: {lost}") from lost
                log.warning("the policy server at %s was lost: %s; connecting again", self.name, lost)
                self._warm = False
                self._reconnect(lost)
                log.warning("connected to %s again", self.name)
        raise AssertionError("unreachable")

    def _reconnect(self, lost: Lost) -> None:
        self._closed.wait(FIRST_DELAY_S)
        try:
            self._open_within(self._reconnect_timeout_s)
        except Lost as cause:
            raise PolicyError(
                f"the policy server at {self.name} was lost ({lost}) and did not come back within "
                f"{self._reconnect_timeout_s:g} s: {cause}"
            ) from cause

    def _open_within(self, timeout_s: float) -> None:
        """Try to connect until the time is over; raises the last try's `Lost`."""
        deadline = time.monotonic() + timeout_s
        for attempt in itertools.count(1):
            self._raise_if_closed()
            try:
                self._open(max(deadline - time.monotonic(), FIRST_DELAY_S))
                return
            except Lost as lost:
                self._raise_if_closed()
                delay_s = min(FIRST_DELAY_S * 2 ** (attempt - 1), LONGEST_DELAY_S)
                if time.monotonic() + delay_s >= deadline:
                    raise
                if attempt == 1:
                    log.info("waiting for the policy server at %s: %s", self.name, lost)
                self._closed.wait(delay_s)

    def _open(self, timeout_s: float) -> None:
        address = self._address
        connection: http.client.HTTPConnection
        if address.tls:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(address.host, address.port, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise PolicyError(f"the certificate of {self.name} is not trusted: {error.verify_message}") from error
        except TimeoutError as error:
            raise Lost(f"nothing came within {timeout_s:.3g} s") from error
        except OSError as error:
            raise Lost(_system_error(error)) from error
        self._connection, self._socket = connection, connection.sock
        self._raise_if_closed()  # only now: whoever closes later finds the new socket

    def _exchange(self, body: bytes) -> bytes:
        """One request and its answer; whatever fails, the connection is not used again."""
        assert self._connection is not None
        timeout_s = self._answer_timeout_s if self._warm else self._first_answer_timeout_s
        deadline = time.monotonic() + timeout_s
        answered = False
        try:
            self._limit(deadline)
            self._connection.request("POST", self._address.path, body, {"Content-Type": "application/json"})
            self._limit(deadline)
            response = self._connection.getresponse()
            self._limit(deadline)
            content = response.read(LARGEST_ANSWER + 1)
            answered = len(content) <= LARGEST_ANSWER and not response.will_close
        except TimeoutError as error:
            raise self._late(timeout_s) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError | http.client.IncompleteRead | http.client.CannotSendRequest):
                raise Lost(_system_error(error)) from error
            self._raise_if_closed()
            raise PolicyError(f"{self.name} does not speak HTTP: {one_line(error)[:200]}") from error
        finally:
            if not answered:  # also on Ctrl-C: the next request must not get this one's answer
                self._drop()
        if len(content) > LARGEST_ANSWER:
            raise PolicyError(f"the policy server at {self.name} sent more than {LARGEST_ANSWER >> 20} MiB")
        if response.status != http.client.OK:
            raise self._refused(response.status, response.reason, content)
        self._warm = True
        return content

    def _limit(self, deadline: float) -> None:
        if self._socket is not None:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))

    def _late(self, timeout_s: float) -> PolicyError:
        if self._closed.is_set():
            return self._closing()
        option = "infer_timeout_s" if self._warm else "first_infer_timeout_s"
        return PolicyError(
            f"the policy server at {self.name} gave no answer within {timeout_s:g} s; "
            f"raise --policy.{option} if it may take longer"
        )

    def _refused(self, status: int, reason: str, content: bytes) -> PolicyError:
        said = one_line(content.decode("utf-8", "replace"))[:200]
        hint = " (is it OpenVLA's deploy.py?)" if status in (404, 405, 422) else ""
        return PolicyError(
            f"the policy server at {self.name} answered {status} {reason}{hint}{f'; it says: {said}' if said else ''}"
        )

    def _raise_if_closed(self) -> None:
        if self._closed.is_set():
            self._drop()
            raise self._closing()

    def _closing(self) -> PolicyError:
        return PolicyError(f"the policy's connection to {self.name} was closed")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._socket = None

    def _interrupt(self) -> None:
        """Wake whoever sends or receives; the socket itself is theirs to close."""
        used = self._socket
        if used is not None:
            with contextlib.suppress(OSError):
                # The plain socket's method: that of a TLS socket fails a thread that is reading from it.
                socket.socket.shutdown(used, socket.SHUT_RDWR)


def _system_error(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return strerror if isinstance(strerror, str) else one_line(error)
