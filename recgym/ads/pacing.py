"""Pacing: how a campaign's spend is spread over the day.

Both ways hold a number in [0.1, 1] for each campaign, moved after every page by proportional
control towards a spend that keeps step with the day: `throttle` takes it for the chance to take
part in a page's auction (Agarwal, Ghosh, Wei and You 2014, "Budget pacing for targeted online
advertisements at LinkedIn"), `multiplier` for a factor of the bid (Balseiro and Gur 2019, "Learning
in repeated auctions with budgets"). The control is on the logarithm, in the difference of two
shares, which their steps are not.

A target ROAS holds a campaign back further: the money that its sales fall short of target times
spend, as a share of the budget, is an error of the same kind, and the worse of the two counts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.ads.records import MICROS, Campaigns
from recgym.errors import UserError
from recgym.types import DAY_MS

PACINGS = ("none", "throttle", "multiplier")
SLOWEST = 0.1
GAIN = 0.5  # of the logarithm, for spend that is a whole budget behind or ahead


def pacing_named(name: str) -> str:
    """The name itself, where there is such a pacing."""
    if name not in PACINGS:
        raise UserError(f"pacing={name!r} is unknown: expected one of {', '.join(PACINGS)}.")
    return name


def moved(
    pace_NA: Tensor, campaigns: Campaigns, spent_NA: Tensor, sales_NA: Tensor, since_ms_N: Tensor
) -> Tensor:
    """The paces after a page, ``since_ms_N`` milliseconds into the day."""
    dtype = pace_NA.dtype
    elapsed_N1 = (since_ms_N.to(dtype) / DAY_MS).unsqueeze(-1)
    behind_NA = elapsed_N1 - spent_NA.to(dtype) / campaigns.budget.to(dtype)
    target_A = campaigns.target_roas
    owed_NA = target_A * spent_NA.to(dtype) / MICROS
    surplus_NA = (sales_NA - owed_NA) * MICROS / (target_A * campaigns.budget).clamp(min=1.0)
    behind_NA = torch.where(target_A > 0, torch.minimum(behind_NA, surplus_NA), behind_NA)
    return (pace_NA * (GAIN * behind_NA.clamp(-1.0, 1.0)).exp()).clamp(SLOWEST, 1.0)
