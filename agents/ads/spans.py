"""One policy after the first session and after 30 days: what ads bring at once, and what they cost.

An ad pays at once, and what it drives off is missing later: shoppers who come back less often. So
a policy may lead after the first session and trail after a month. Each span counts the same
shoppers from the first page of their episode: the ``first_session``, the pages of the first
``30_days``, and ``all`` sessions of the episode. Differences from `ad_fixed` are paired.

Dims: S spans · B episodes · V values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agents.ads.valuing import FIXED
from agents.table import aligned, cell
from recgym import metrics
from recgym.ads.platform import AdLanes
from recgym.ads.records import AdObservation, AdOutcome
from recgym.types import DAY_MS

SPANS = ("first_session", "30_days", "all")
DAYS = 30
SUMS = ("ad_revenue", "revenue", "ads", "impressions", "sessions", "pages")  # V
COMPARED = ("ad_revenue", "revenue", "ad_load")
COLUMNS = (
    ("ad revenue/shopper", "ad_revenue", "{:.4f}"),
    ("sales/shopper", "revenue", "{:.3f}"),
    ("ad load", "ad_load", "{:.1%}"),
    ("came back", "came_back", "{:.1%}"),
    ("sessions", "sessions", "{:.3f}"),
)


class Spans:
    """Sums of each span; its `add` hears every step of a roll-out.

    Args:
        num_episodes: B.
        device: of the sums.
    """

    def __init__(self, num_episodes: int, device: torch.device) -> None:
        shape = len(SPANS), num_episodes, len(SUMS)
        self.sum_SBV = torch.zeros(shape, dtype=torch.float64, device=device)
        self.begun_B = torch.zeros(num_episodes, dtype=torch.int64, device=device)

    def add(self, index_N: Tensor, before: AdLanes, seen: AdObservation, ads: AdOutcome) -> None:
        """One page of the rows in ``index_N``."""
        visit, outcome = seen.base.visit, ads.outcome
        assert visit.past is not None  # shoppers who come back are counted by the visit
        opens_N = visit.page_number == 0
        first_N = visit.past.sessions == 0
        self.begun_B[index_N] = torch.where(first_N & opens_N, visit.time_ms, self.begun_B[index_N])
        early_N = visit.time_ms - self.begun_B[index_N] < DAYS * DAY_MS
        value_VN = [
            ads.ad_revenue(),
            outcome.revenue,
            (ads.campaign >= 0).sum(-1),
            outcome.impressions,
            opens_N,
            torch.ones_like(opens_N),
        ]  # in the order of `SUMS`
        value_NV = torch.stack([value_N.double() for value_N in value_VN], -1)
        for sum_BV, within_N in zip(
            self.sum_SBV, (first_N, early_N, torch.ones_like(first_N)), strict=True
        ):
            sum_BV.index_add_(0, index_N, value_NV * within_N.unsqueeze(-1))

    def pairs(self) -> dict[str, dict[str, metrics.Pair]]:
        """Span, then measure: numerator and denominator of each shopper."""
        found = {}
        for span in SPANS:
            # after the first session: whether another followed at all
            whole = "all" if span == "first_session" else span
            back_B = (self._of(whole, "sessions") > 1).double()
            ones_B = torch.ones_like(back_B)
            found[span] = {
                "ad_revenue": (self._of(span, "ad_revenue"), ones_B),
                "revenue": (self._of(span, "revenue"), ones_B),
                "ad_load": (self._of(span, "ads"), self._of(span, "impressions")),
                "came_back": (back_B, ones_B),
                "sessions": (self._of(span, "sessions"), ones_B),
                "pages": (self._of(span, "pages"), ones_B),
            }
        return found

    def _of(self, span: str, value: str) -> Tensor:
        return self.sum_SBV[SPANS.index(span), :, SUMS.index(value)]


def spans_of(played: Mapping[str, Mapping[str, Spans]], seed: int) -> dict[str, Any]:
    """Shop, then policy, then span: estimates, and ``above`` those of `ad_fixed`.

    Args:
        played: shop, then policy, then its sums.
        seed: of the bootstrap.
    """
    return {shop: _in_shop(policies, seed) for shop, policies in played.items()}


def _in_shop(policies: Mapping[str, Spans], seed: int) -> dict[str, Any]:
    pairs = {name: sums.pairs() for name, sums in policies.items()}
    fixed = pairs[FIXED]
    return {
        name: {
            span: {
                **{key: metrics.ratio(pair, seed).as_dict() for key, pair in mine.items()},
                "above": {
                    key: metrics.ratio_difference(mine[key], fixed[span][key], seed).as_dict()
                    for key in COMPARED
                },
            }
            for span, mine in spans.items()
        }
        for name, spans in pairs.items()
    }


def spans_table(found: Mapping[str, Any], shop: str) -> str:
    """A row for each policy and span."""
    head = [f"{shop} shop", "within", *(title for title, _, _ in COLUMNS),
            f"ad revenue above {FIXED}", f"sales above {FIXED}"]  # fmt: skip
    rows = [head]
    for name, spans in found[shop].items():
        for span, row in spans.items():
            shown = [
                cell({**row[key], "low": None, "high": None}, form) for _, key, form in COLUMNS
            ]
            above = [cell(row["above"][key], "{:+.4f}") for key in ("ad_revenue", "revenue")]
            above = ["-", "-"] if name == FIXED else above
            rows.append([name, span.replace("_", " "), *shown, *above])
    return "\n".join(aligned(rows))
