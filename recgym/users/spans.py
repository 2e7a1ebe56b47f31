"""Long sessions in windows, with the state carried over: truncated backpropagation through time.

Of a session of many thousand steps a fit would hold every step's activations at once. So it is cut:
a window begins with the state that the steps before it left, as a constant, and gradients reach
back to the window's first step (Williams and Peng 1990, "An efficient gradient-based algorithm for
on-line training of recurrent network trajectories", section 3). What a step's likelihood is does
not change by it; only how far a weight is told what it did to later steps.

Deviation: the state is the one that the model of the epoch's beginning had there, as its
expectations are (`training`), and not that of the window before under the present weights. So
windows come in any order, among other sessions (stored states: Kapturowski et al. 2019, "Recurrent
experience replay in distributed reinforcement learning", section 3).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.lanes import joined
from recgym.types import Sessions
from recgym.users.likelihood import Moment, Steps, gather_steps
from recgym.users.states import SequenceState


@dataclass(frozen=True)
class Spans:
    """Sessions whole, or in windows where they are longer than one."""

    row: Tensor  # [Q] int64, the session
    first: Tensor  # [Q] int64, number of its first step here
    last: Tensor  # [Q] int64, and of the first one no longer here
    window: int
    cut: bool  # whether any session is in windows

    @property
    def length(self) -> Tensor:
        """Steps of each, [Q]."""
        return self.last - self.first

    def gather(self, sessions: Sessions, cart_S: Tensor, part: Tensor) -> Steps:
        """The steps of some of these; see `likelihood.gather_steps`."""
        within = (self.first[part], self.last[part]) if self.cut else None
        return gather_steps(sessions, cart_S, self.row[part], within)


def spans_of(sessions: Sessions, row_B: Tensor, window: int) -> Spans:
    """Of these sessions, windows of so many steps, the last one of a session shorter."""
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    count_B = (length_B + window - 1).div(window, rounding_mode="floor")
    which_Q = torch.repeat_interleave(torch.arange(len(row_B)), count_B)
    place_Q = torch.arange(len(which_Q)) - (count_B.cumsum(0) - count_B)[which_Q]
    first_Q = place_Q * window
    last_Q = torch.minimum(first_Q + window, length_B[which_Q])
    cut = bool((count_B > 1).any())
    return Spans(row_B[which_Q], first_Q, last_Q, window, cut)


class Carried:
    """The states at which windows begin, kept while the sessions are walked.

    Args:
        window: steps of one.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._found: list[tuple[int, Tensor, SequenceState]] = []
        self._whole: tuple[Tensor, SequenceState, int] | None = None

    def meet(self, place: int, moment: Moment) -> None:
        """Keep the state where a window begins; for `likelihood.expectations`."""
        if place and place % self.window == 0:
            state = moment.reading.state
            row_N = moment.steps.arrival.session[: len(state.h)]
            self._found.append((place, row_N, state))

    def onto(self, steps: Steps) -> Steps:
        """The steps with the states at which they begin; as they are where all begin a session."""
        if not self._found or steps.skipped is None:
            return steps
        if self._whole is None:
            self._whole = self._sorted()
        key_M, state, longest = self._whole
        wanted_B = steps.arrival.session * longest + steps.skipped
        at_B = torch.searchsorted(key_M, wanted_B).clamp(max=len(key_M) - 1)
        return dataclasses.replace(steps, carried=state.lanes(at_B))

    def _sorted(self) -> tuple[Tensor, SequenceState, int]:
        """Keys of session and place, the states in their order, and what a session counts."""
        places, rows, states = zip(*self._found, strict=True)
        longest = max(places) + 1
        key_M = torch.cat([row * longest + place for place, row in zip(places, rows, strict=True)])
        key_M, order_M = key_M.sort()
        return key_M, joined(states).lanes(order_M), longest
