"""The one protocol of predictors, and the views that they are fitted on and asked about.

A predictor ranks the catalogue as the next view of a running session. It knows neither pages nor
money, cannot be simulated, and so is no user model; but it may foresee the next view better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from recgym.build import build, check_settings
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.types import Kind, Sessions

REMEMBERED = 50  # L, views of a running session that a predictor is told
MAX_CELLS = 6_000_000  # histories x items that are scored at once


@dataclass(frozen=True)
class Views(Record):
    """What was viewed in B sessions, V views, one session after another."""

    item: Tensor  # [V] int64
    time_ms: Tensor  # [V] int64
    offset: Tensor  # [B + 1] int64; session b owns views offset[b] to offset[b + 1]
    num_items: int

    def session(self) -> Tensor:
        """Number of each view's session, [V] int64."""
        length_B = self.offset.diff()
        return torch.arange(len(length_B)).repeat_interleave(length_B)

    def place(self) -> Tensor:
        """Place of each view in its session, from 0, [V] int64."""
        return torch.arange(len(self.item)) - self.offset[:-1][self.session()]


@dataclass(frozen=True)
class History(Record):
    """What was viewed so far in N running sessions."""

    item: Tensor  # [N, L] int64, newest first, -1 where there is none
    time_ms: Tensor  # [N] int64, of the newest


class Predictor(Protocol):
    """Anything that ranks the catalogue as the next view of a running session."""

    is_law: bool  # whether its scores are log-probabilities

    def fit(self, sessions: Views) -> None:
        """Learn from whole sessions."""
        ...

    def scores(self, history: History) -> Tensor:
        """The higher the likelier, [N, I]."""
        ...


def views_of(sessions: Sessions, row_B: Tensor, num_items: int) -> Views:
    """The views of these sessions, without those that viewed nothing."""
    event = sessions.event
    chosen_B = torch.zeros(len(sessions.split), dtype=torch.bool)
    chosen_B[row_B] = True
    session_S = torch.arange(len(chosen_B)).repeat_interleave(sessions.offset.diff())
    step_V = (chosen_B[session_S] & (event.kind == int(Kind.VIEW))).nonzero().squeeze(-1)
    length_B = torch.unique_consecutive(session_S[step_V], return_counts=True)[1]
    offset = torch.cat([length_B.new_zeros(1), length_B.cumsum(0)])
    return Views(event.item[step_V], sessions.time_ms[step_V], offset, num_items)


def histories(views: Views, length: int = REMEMBERED) -> tuple[History, Tensor]:
    """What came before each view but a session's first, and the item viewed, [N]."""
    view_N = (views.place() > 0).nonzero().squeeze(-1)
    back_L = torch.arange(1, length + 1)
    from_NL = view_N.unsqueeze(-1) - back_L
    first_N = views.offset[:-1][views.session()[view_N]]
    item_NL = torch.where(
        from_NL >= first_N.unsqueeze(-1), views.item[from_NL.clamp(min=0)], torch.tensor(-1)
    )
    return History(item_NL, views.time_ms[view_N - 1]), views.item[view_N]


def parts(count: int, num_items: int) -> Iterator[slice]:
    """Rows that may be scored at once."""
    rows = max(1, MAX_CELLS // num_items)
    for first in range(0, count, rows):
        yield slice(first, first + rows)


def make_predictors(
    names: Sequence[str], known: Mapping[str, Mapping[str, Any]]
) -> dict[str, Predictor]:
    """The predictors of these names, unfitted.

    Raises:
        UserError: if one is unknown, or a setting cannot be used.
    """
    for name in names:
        if name not in known:
            raise UserError(
                f"predictors={name}: expected names among {', '.join(known)}; add others under "
                "predicting."
            )
        check_settings(f"predicting.{name}", known[name])
    return {name: build(known[name]) for name in names}
