"""A client that keeps an HTTP server: one connection that stays open, and another when the server was lost."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import ssl
import time

from taketwo.errors import PolicyError, one_line
from taketwo.wire.address import Endpoint
from taketwo.wire.persistence import Lost, Persistence, system_error
from taketwo.wire.timeouts import Timeouts

LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes; an action has about a hundred."""

NOT_AS_EXPECTED = (http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED, http.client.UNPROCESSABLE_ENTITY)
"""What a server answers that is another one than it is taken for."""


class HttpClient:
    """Posts to one address. One thread at a time has its request answered; `close` may be called from any thread.

    Servers hang up on whoever was silent for a while, uvicorn after 5 seconds. So a kept connection that turns out to
    be closed is replaced at once and without a word; only a server that does not take the new one counts as lost.

    Attributes:
        name: the server's address as messages show it.
        outages_s: how long the server was away, each time that it was lost and came back.
    """

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, *, expected: str) -> None:
        """Nothing is sent until `connect`.

        Args:
            timeouts: of which the limit for the first answer counts again after the server was lost.
            expected: what is taken to answer there, for messages.
        """
        self.name = str(endpoint)
        self._endpoint = endpoint
        self._timeouts = timeouts
        self._expected = expected
        self._persistence = Persistence("policy server", self.name, timeouts, self._open)
        self.outages_s = self._persistence.outages_s
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._warm = False  # whether it has answered before

    def connect(self) -> None:
        """Connect, trying again until `connect_timeout_s` is over.

        Raises:
            PolicyError: nobody answers.
        """
        with self._persistence.turn:
            self._persistence.connect()

    def post(self, body: bytes) -> bytes:
        """The answer's body. Where the server is lost it is asked again, so asking must do no harm twice.

        Raises:
            PolicyError: no answer came in time, or the server refuses the request.
        """
        with self._persistence.turn:
            try:
                self._persistence.raise_if_closed()
                return self._persistently(body)
            finally:
                if self._persistence.closed:
                    self._drop()

    def close(self) -> None:
        """Disconnect; a `post` under way in another thread ends with a PolicyError. Safe to call twice."""
        self._persistence.close(interrupt=self._interrupt, end=self._drop)

    def _persistently(self, body: bytes) -> bytes:
        for attempt in itertools.count(1):
            idle = attempt == 1 and self._connection is not None
            try:
                if self._connection is None:
                    self._open(self._timeouts.connect_timeout_s)
                return self._exchange(body)
            except Lost as lost:
                if not idle:
                    self._warm = False
                    self._persistence.recover(lost, attempt)
        raise AssertionError("unreachable")

    def _open(self, timeout_s: float) -> None:
        to = self._endpoint
        connection: http.client.HTTPConnection
        if to.tls:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(to.host, to.port, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(to.host, to.port, timeout=timeout_s)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise PolicyError(f"the certificate of {self.name} is not trusted: {error.verify_message}") from error
        except TimeoutError as error:
            raise Lost(f"nothing came within {timeout_s:.3g} s") from error
        except OSError as error:
            raise Lost(system_error(error)) from error
        self._connection, self._socket = connection, connection.sock
        self._persistence.raise_if_closed()  # only now: whoever closes later finds the new socket

    def _exchange(self, body: bytes) -> bytes:
        """One request and its answer; whatever fails, the connection is not used again."""
        assert self._connection is not None
        timeouts = self._timeouts
        timeout_s = timeouts.infer_timeout_s if self._warm else timeouts.first_infer_timeout_s
        deadline = time.monotonic() + timeout_s
        answered = False
        try:
            self._limit(deadline)
            self._connection.request("POST", self._endpoint.path, body, {"Content-Type": "application/json"})
            self._limit(deadline)
            response = self._connection.getresponse()
            self._limit(deadline)
            content = response.read(LARGEST_ANSWER + 1)
            answered = len(content) <= LARGEST_ANSWER and not response.will_close
        except TimeoutError as error:
            raise self._late(timeout_s) from error
        except (OSError, http.client.HTTPException) as error:
            self._persistence.raise_if_closed()
            if isinstance(error, OSError | http.client.IncompleteRead | http.client.CannotSendRequest):
                raise Lost(system_error(error)) from error
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
        self._persistence.raise_if_closed()
        option = "infer_timeout_s" if self._warm else "first_infer_timeout_s"
        return PolicyError(
            f"the policy server at {self.name} gave no answer within {timeout_s:g} s; "
            f"raise --policy.{option} if it may take longer"
        )

    def _refused(self, status: int, reason: str, content: bytes) -> PolicyError:
        said = one_line(content.decode("utf-8", "replace"))[:200]
        hint = f" (is it {self._expected}?)" if status in NOT_AS_EXPECTED else ""
        return PolicyError(
            f"the policy server at {self.name} answered {status} {reason}{hint}{f'; it says: {said}' if said else ''}"
        )

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
