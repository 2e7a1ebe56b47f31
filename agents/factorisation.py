"""Matrix factorisation: items whose factors fit those of what this shopper viewed.

Paper: Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets", over
sessions instead of users. With r(s, i) views of item i in session s, preference p(s, i) is 1 where
r(s, i) > 0 and else 0, held with confidence c(s, i) = 1 + alpha r(s, i); factors of sessions x and
of items y minimise equation 3, the sum of c (p - x · y)^2 over all pairs plus
ridge (|x|^2 + |y|^2), by turns: x = (Y^T C Y + ridge I)^-1 Y^T C p (equation 4), and y from X in
the same way (equation 5). Y^T C Y is Y^T Y plus a sum over what was viewed, so that a turn costs
the views and not all pairs (section 4). A running session is folded in: equation 4 on what the site
saw of it, with the items' factors as they are; an item's score is x · y.

Deviations: of a running session the last views alone count, those that an observation holds; what
was viewed comes last, being found already; before a first view, and between equals, the most viewed
items come first.
"""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from torch import Tensor

from agents.baselines import top_k
from recgym.settings import Count, Positive, Within
from recgym.types import Observation

ROWS, ENTRIES = 8_192, 16_384  # solved at once, and taken in at once: they bound the memory


def solved(
    fixed_JF: Tensor,
    row_V: Tensor,
    column_V: Tensor,
    confidence_V: Tensor,
    preferred_V: Tensor,
    num_rows: int,
    ridge: float,
) -> Tensor:
    """The best factors of each row for the columns' fixed ones, [num_rows, F] (equation 4 or 5).

    Args:
        fixed_JF: factors of the columns.
        row_V: where something was seen, with ``column_V``; two in the same place add up.
        column_V: see there.
        confidence_V: c - 1 there.
        preferred_V: p there.
        num_rows: rows to solve for; one without views has factors 0.
        ridge: weight of the factors' squares.
    """
    num_factors = fixed_JF.shape[1]
    eye_FF = torch.eye(num_factors, dtype=fixed_JF.dtype, device=fixed_JF.device)
    left_RFF = (fixed_JF.T @ fixed_JF + ridge * eye_FF).repeat(num_rows, 1, 1)
    right_RF = fixed_JF.new_zeros(num_rows, num_factors)
    for begin in range(0, len(row_V), ENTRIES):
        part = slice(begin, begin + ENTRIES)
        row_U, confidence_U, preferred_U = row_V[part], confidence_V[part], preferred_V[part]
        factor_UF = fixed_JF[column_V[part]]
        weighed_UF = confidence_U.unsqueeze(-1) * factor_UF
        left_RFF.index_add_(0, row_U, weighed_UF.unsqueeze(-1) * factor_UF.unsqueeze(1))
        right_RF.index_add_(0, row_U, weighed_UF + preferred_U.unsqueeze(-1) * factor_UF)
    root_RFF = torch.linalg.cholesky(left_RFF)
    found_RF1: Tensor = torch.cholesky_solve(right_RF.unsqueeze(-1), root_RFF)
    return found_RF1.squeeze(-1)


class MatrixFactorisation:
    """The K items that fit best what was viewed; fitted when it is made, and learns no more.

    Args:
        view_V2: session and item of each view of the training period, [V, 2] int64.
        num_items: I.
        num_slots: K.
        seed: of the factors that the turns begin with.
        num_factors: F, of each session and of each item.
        alpha: confidence that a view adds to the 1 of what was not viewed.
        ridge: weight of the factors' squares.
        rounds: turns of each side.
    """

    def __init__(
        self,
        view_V2: Tensor,
        num_items: int,
        *,
        num_slots: int,
        seed: int = 0,
        num_factors: Count = 16,
        alpha: Annotated[float, Within(0.0)] = 5.0,
        ridge: Positive = 100.0,
        rounds: Count = 10,
    ) -> None:
        self.num_slots, self.alpha, self.ridge = num_slots, alpha, ridge
        pair_P2, count_P = view_V2.cpu().unique(dim=0, return_counts=True)
        session_P = pair_P2[:, 0].unique(return_inverse=True)[1]
        item_P, num_sessions = pair_P2[:, 1], int(session_P.max()) + 1 if len(pair_P2) else 0
        generator = torch.Generator().manual_seed(seed)
        item_IF = 0.1 * torch.randn(num_items, num_factors, generator=generator)
        for _ in range(rounds):
            session_SF = self._turn(item_IF, session_P, item_P, count_P, num_sessions)
            item_IF = self._turn(session_SF, item_P, session_P, count_P, num_items)
        self.item_IF = item_IF
        views_I = torch.bincount(view_V2[:, 1].cpu(), minlength=num_items).float()
        self.fame_I = views_I / views_I.max().clamp(min=1.0) * 1e-6  # below any score that counts

    def _turn(
        self, fixed_JF: Tensor, row_P: Tensor, column_P: Tensor, count_P: Tensor, num_rows: int
    ) -> Tensor:
        """Factors of all rows, some of them at once."""
        order_P = row_P.argsort(stable=True)
        row_P, column_P, count_P = row_P[order_P], column_P[order_P], count_P[order_P]
        edges = torch.searchsorted(row_P, torch.arange(0, num_rows + ROWS, ROWS)).tolist()
        found = []
        for block, (first, last) in enumerate(itertools.pairwise(edges)):
            begin = block * ROWS
            confidence_V = self.alpha * count_P[first:last].to(fixed_JF.dtype)
            found.append(
                solved(
                    fixed_JF,
                    row_P[first:last] - begin,
                    column_P[first:last],
                    confidence_V,
                    torch.ones_like(confidence_V),
                    min(ROWS, num_rows - begin),
                    self.ridge,
                )
            )
        return torch.cat(found) if found else fixed_JF.new_zeros(0, fixed_JF.shape[1])

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], those that fit best first."""
        return top_k(self.scores(observation), observation.eligible, self.num_slots)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """How well each item fits, [N, I]; those viewed last come last."""
        history_NL = observation.visit.history_item
        self.item_IF = self.item_IF.to(observation.feature.device)
        self.fame_I = self.fame_I.to(self.item_IF)
        score_NI = self.folded_in(history_NL) @ self.item_IF.T + self.fame_I
        last = torch.finfo(score_NI.dtype).min  # finite: where too few are left they are shown
        padded_NJ = torch.nn.functional.pad(score_NI, (1, 0))  # column 0 takes what was no view
        return padded_NJ.scatter(-1, history_NL + 1, last)[:, 1:]

    def folded_in(self, history_NL: Tensor) -> Tensor:
        """Factors of running sessions from the items viewed, -1 for none, [N, F]."""
        seen_NL = history_NL >= 0
        same_NLL = history_NL.unsqueeze(-1) == history_NL.unsqueeze(1)
        first_NL = seen_NL & ~same_NLL.tril(-1).any(-1)
        lane_N1 = torch.arange(len(history_NL), device=history_NL.device).unsqueeze(-1)
        return solved(
            self.item_IF,
            lane_N1.expand_as(history_NL).flatten(),
            history_NL.clamp(min=0).flatten(),
            self.alpha * seen_NL.flatten().to(self.item_IF.dtype),
            first_NL.flatten().to(self.item_IF.dtype),
            len(history_NL),
            self.ridge,
        )
