"""What each client of a server has of its policy. A server and the replay of its recording go by the same rule."""

from __future__ import annotations

import enum
from collections.abc import Callable

from taketwo.policies.base import InfersBatches, Policy, SharesWeights


class Loan(enum.Enum):
    """What one client has.

    Attributes:
        SHARED: the first policy, which keeps no state and which all clients ask.
        OWN_STATE: a policy of its own over the first one's weights.
        FIRST: the first policy, for itself until it goes.
        OWN: a policy that was made for it.
    """

    SHARED = enum.auto()
    OWN_STATE = enum.auto()
    FIRST = enum.auto()
    OWN = enum.auto()

    @property
    def is_reset(self) -> bool:
        """Whether the client's episodes reset it; what others share has nothing to forget."""
        return self is not Loan.SHARED

    @property
    def is_owned(self) -> bool:
        """Whether it is closed when the client goes."""
        return self in (Loan.OWN_STATE, Loan.OWN)


class Loans:
    """Says what the next client has."""

    def __init__(self, first: Policy, make: Callable[[], Policy]) -> None:
        """Lend a policy and, where clients can share neither it nor its weights, others that `make` makes."""
        self._first = first
        self._make = make
        self._first_is_lent = False

    def take(self) -> Loan:
        """What one more client has."""
        if isinstance(self._first, InfersBatches):
            return Loan.SHARED
        if isinstance(self._first, SharesWeights):
            return Loan.OWN_STATE
        if self._first_is_lent:
            return Loan.OWN
        self._first_is_lent = True
        return Loan.FIRST

    def policy(self, loan: Loan) -> Policy:
        """The policy itself, to be asked on the thread that this was called on.

        Raises:
            TakeTwoError: it cannot be made.
        """
        if loan is Loan.OWN_STATE:
            assert isinstance(self._first, SharesWeights)
            return self._first.for_client()
        return self._make() if loan is Loan.OWN else self._first

    def give_back(self, loan: Loan) -> None:
        """Its client has gone. Who asked for the policy closes it, where it is owned."""
        if loan is Loan.FIRST:
            self._first_is_lent = False
