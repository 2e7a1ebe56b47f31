"""Lanes of a roll-out, refilled by hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.lanes import Record
from recgym.refill import refilled


@dataclass(frozen=True)
class Count(Record):
    """Where a lane is."""

    at: Tensor  # [N]


def begin(index_F: Tensor) -> Count:
    return Count(100 * index_F)


def test_a_lane_that_ended_begins_the_next_episode() -> None:
    # Why: every episode is played once, in whichever lane is free first.
    state, index_N = Count(torch.tensor([7, 8, 9])), torch.tensor([0, 1, 2])
    ended_N = torch.tensor([True, False, True])
    after, playing_N, started = refilled(state, index_N, ended_N, 3, 9, begin)
    assert after.at.tolist() == [300, 8, 400]
    assert playing_N.tolist() == [3, 1, 4] and started == 5


def test_a_lane_that_finds_no_episode_left_goes() -> None:
    # Why: a shopper who is gone must not be asked again, nor an episode be played twice.
    state, index_N = Count(torch.tensor([7, 8, 9])), torch.tensor([0, 1, 2])
    ended_N = torch.tensor([True, True, False])
    after, playing_N, started = refilled(state, index_N, ended_N, 3, 4, begin)
    assert after.at.tolist() == [300, 9]
    assert playing_N.tolist() == [3, 2] and started == 4
