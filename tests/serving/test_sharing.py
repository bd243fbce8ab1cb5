"""Which policy each client of a server has, on the server as in the replay of its recording."""

import numpy as np
import pytest

from taketwo.serving.sharing import Loan, Loans
from tests.control.support import Says


class Shared(Says):
    def infer_batch(self, observations):
        return [self.infer(observation) for observation in observations]


class Weights(Says):
    def for_client(self):
        return Weights(self._answer)


class Both(Weights, Shared):
    pass


def loans_of(kind):
    first = kind(lambda k: np.zeros((1, 2)))
    made = []

    def make():
        made.append(kind(lambda k: np.zeros((1, 2))))
        return made[-1]

    return Loans(first, make), first, made


@pytest.mark.parametrize("kind", [Shared, Both])
def test_clients_share_a_policy_that_keeps_no_state(kind):
    loans, first, made = loans_of(kind)
    for _ in range(3):
        loan = loans.take()
        assert loan is Loan.SHARED
        assert loans.policy(loan) is first
    assert not made and not loan.is_reset and not loan.is_owned


def test_clients_have_states_of_their_own_over_weights_that_are_shared():
    loans, first, made = loans_of(Weights)
    taken = [loans.take() for _ in range(2)]
    assert taken == [Loan.OWN_STATE] * 2
    policies = [loans.policy(loan) for loan in taken]
    assert len({id(policy) for policy in [first, *policies]}) == 3
    assert not made and taken[0].is_reset and taken[0].is_owned


def test_any_other_policy_is_lent_to_one_client_and_made_for_the_others():
    loans, first, made = loans_of(Says)
    one, two, three = (loans.take() for _ in range(3))
    assert (one, two, three) == (Loan.FIRST, Loan.OWN, Loan.OWN)
    assert loans.policy(one) is first and not made
    assert loans.policy(two) is made[0] and loans.policy(three) is made[1]
    assert one.is_reset and not one.is_owned and two.is_reset and two.is_owned
    loans.give_back(two)
    assert loans.take() is Loan.OWN
    loans.give_back(one)
    assert [loans.take(), loans.take()] == [Loan.FIRST, Loan.OWN]
