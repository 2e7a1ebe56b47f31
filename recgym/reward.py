"""Rewards: what a learner is paid for one page, each a function of its `Outcome`.

A reward is not a metric: what a policy is ranked by stays revenue, whichever reward it learned on.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from recgym.errors import UserError
from recgym.types import Outcome


class Reward(Protocol):
    """What one page brought a learner."""

    def __call__(self, outcome: Outcome) -> Tensor:
        """One number a lane, [N] float."""
        ...


def revenue(outcome: Outcome) -> Tensor:
    """Currency units paid on this page, [N]."""
    return outcome.revenue


def conversion(outcome: Outcome) -> Tensor:
    """1 where an order was paid, at once or at the checkout, [N]."""
    return outcome.bought


def click(outcome: Outcome) -> Tensor:
    """1 where an item of the page was chosen, [N]."""
    return outcome.clicked.to(outcome.revenue.dtype)


def expected_revenue(outcome: Outcome) -> Tensor:
    """E[revenue | state, page] in currency units, [N].

    The same best policy as `revenue` with far less noise; needs a simulator that was built with
    ``expected_revenue=True``.
    """
    return outcome.expected_revenue


def chosen_revenue(outcome: Outcome) -> Tensor:
    """E[revenue | state, page, choice] in currency units, [N].

    The same best policy again, and due to the one item chosen: what SlateQ takes apart.
    """
    return outcome.chosen_revenue


REWARDS: dict[str, Reward] = {
    "revenue": revenue,
    "conversion": conversion,
    "click": click,
    "expected_revenue": expected_revenue,
    "chosen_revenue": chosen_revenue,
}


def reward_named(name: str) -> Reward:
    """The reward of this name."""
    if name not in REWARDS:
        raise UserError(f"reward={name!r} is unknown: expected one of {', '.join(REWARDS)}.")
    return REWARDS[name]


def pessimistic(reward: Reward, weight: float) -> Reward:
    """The reward minus ``weight`` times what the shop's members part by.

    Yu et al. 2020, "MOPO: Model-based offline policy optimization", equation 7; needs a simulator
    that was built with ``doubt=True``.
    """

    def penalised(outcome: Outcome) -> Tensor:
        return reward(outcome) - weight * outcome.doubt

    return penalised


def with_orders(reward: Reward, bonus: float) -> Reward:
    """The reward and ``bonus`` currency units for each page that an order was paid on.

    A scalarisation of two ends, money and orders: the larger the bonus, the more a learner gives
    up of what an order is worth for there being one.
    """

    def both(outcome: Outcome) -> Tensor:
        return reward(outcome) + bonus * outcome.bought

    return both
