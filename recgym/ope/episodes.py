"""Logged pages, one after another, laid out by session."""

from __future__ import annotations

import torch
from torch import Tensor


def pad(value_S: Tensor, session_S: Tensor, step_S: Tensor, num_sessions: int) -> Tensor:
    """Values of pages as [B, T, ...]; 0 where a session is over.

    Args:
        value_S: of S pages in any order, [S, ...].
        session_S: row of each page's session, [S] int64.
        step_S: its number in the session, from 0, [S] int64.
        num_sessions: B.
    """
    shape = num_sessions, int(step_S.max()) + 1, *value_S.shape[1:]
    return torch.zeros(shape, dtype=value_S.dtype, device=value_S.device).index_put(
        (session_S, step_S), value_S
    )
