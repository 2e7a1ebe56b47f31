"""Lanes of a roll-out: those whose episode ended begin another one while any are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from recgym.lanes import Record, put

R = TypeVar("R", bound=Record)
MAX_PAGES = 200  # a session longer than this is cut off, and its episode with it


def refilled(
    state: R,
    index_N: Tensor,
    ended_N: Tensor,
    started: int,
    count: int,
    begin: Callable[[Tensor], R],
) -> tuple[R, Tensor, int]:
    """The lanes that go on, which episode each plays, and how many episodes have begun.

    Args:
        state: of the lanes after a page.
        index_N: episode that each lane plays, [N] int64.
        ended_N: lanes whose episode is over, [N] bool.
        started: episodes begun so far; the next one has this number.
        count: episodes in all; a lane that finds none left goes.
        begin: lanes at the start of these episodes, given as [F] int64.
    """
    free_F = ended_N.nonzero().squeeze(-1)
    fresh = min(len(free_F), count - started)
    if fresh:
        new_F = torch.arange(started, started + fresh, device=index_N.device)
        state = put(state, free_F[:fresh], begin(new_F))
        index_N = index_N.index_copy(0, free_F[:fresh], new_F)
    if fresh < len(free_F):
        keep_N = torch.ones_like(ended_N)
        keep_N[free_F[fresh:]] = False
        keep_F = keep_N.nonzero().squeeze(-1)
        state, index_N = state.lanes(keep_F), index_N[keep_F]
    return state, index_N, started + fresh
