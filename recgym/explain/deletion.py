"""Whether an explanation holds: without the events that it names, is much of it gone?

Removing the three events that a method puts first must cut the log-probability at least twice as
much as removing three random ones does on average (Samek et al. 2017, "Evaluating the visualization
of what a deep neural network has learned", section III, with events for pixels). Where fewer than
three events speak for what is asked, it is as many as do.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.explain.methods import METHODS, Asked

MOST_NAMED = 3
LEAST_CUT = 2.0  # times what random events cut
MOST_DRAWS = 200  # of random events; all there are, where these are fewer


@dataclass(frozen=True)
class Explanation:
    """One method's answer, and how it stood the test.

    Attributes:
        method: of `recgym.explain.methods.METHODS`.
        weights: of each earlier event, in nats (of attention: shares).
        log_prob: of the question, in nats.
        named: rows of the events put first, at most `MOST_NAMED` and of positive weight; empty
            where there are none, or no others.
        cut: nats lost without them.
        random_cut: mean nats lost without as many random ones.
    """

    method: str
    weights: tuple[float, ...]
    log_prob: float
    named: tuple[int, ...]
    cut: float
    random_cut: float

    @property
    def holds(self) -> bool:
        """Whether it passed; an explanation that was not tested did not."""
        return bool(self.named) and self.cut > 0 and self.cut >= LEAST_CUT * self.random_cut

    @property
    def verdict(self) -> str:
        """In a sentence."""
        if not self.named:
            speaking = sum(weight > 0 for weight in self.weights)
            return (
                f"not tested: {speaking} of {len(self.weights)} earlier events speak for it, and "
                f"the test removes up to {MOST_NAMED} of these and must leave others."
            )
        pages = ", ".join(str(row + 1) for row in sorted(self.named))
        numbers = (
            f"without pages {pages} the log-probability falls by {self.cut:.3f}, without "
            f"as many random ones by {self.random_cut:.3f} on average"
        )
        if self.holds:
            return f"holds: {numbers}."
        return f"does not hold, so do not rely on it: {numbers}, and {LEAST_CUT:g} times is asked."


def explain(asked: Asked, method: str, seed: int = 0) -> Explanation:
    """The method's answer, put to the test."""
    return judged(asked, method, METHODS[method](asked), seed)


@torch.no_grad()
def judged(asked: Asked, method: str, weight_T: Tensor, seed: int = 0) -> Explanation:
    """Any weights of the earlier events, put to the test."""
    count, weights = asked.num_events, tuple(weight_T.tolist())
    number = min(MOST_NAMED, int((weight_T > 0).sum()))
    if not 0 < number < count:
        whole = float(asked.log_prob(asked.all_kept()))
        return Explanation(method, weights, whole, (), 0.0, 0.0)
    named = tuple(weight_T.topk(number).indices.tolist())
    removed = [named, *_some(count, number, seed)]
    kept_BT = asked.all_kept().repeat(len(removed) + 1, 1)
    row_XR = torch.tensor(removed, device=kept_BT.device)
    kept_BT[1:] = kept_BT[1:].scatter(-1, row_XR, 0.0)
    log_prob_B = asked.log_prob(kept_BT)
    cut_B = log_prob_B[0] - log_prob_B[1:]
    return Explanation(
        method, weights, float(log_prob_B[0]), named, float(cut_B[0]), float(cut_B[1:].mean())
    )


def _some(count: int, number: int, seed: int) -> list[tuple[int, ...]]:
    """Sets of so many events: all there are, or some at random."""
    if math.comb(count, number) <= MOST_DRAWS:
        return list(itertools.combinations(range(count), number))
    draw = random.Random(seed)
    return [tuple(draw.sample(range(count), number)) for _ in range(MOST_DRAWS)]
