"""What the platform believes of clicks on ads: a model's estimate, never the shopper's own law."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from recgym import rng
from recgym.rng import Purpose
from recgym.types import Observation
from recgym.users.sequence import SequenceModel
from recgym.users.states import SequenceState


class CtrModel(Protocol):
    """Estimates of clicks."""

    def pctr(self, observation: Observation, item_A: Tensor) -> Tensor:
        """Probability that each item is clicked in the first slot, [N, A]."""
        ...


class FittedCtr:
    """From a fitted user model, with its typical shopper in each lane's state.

    Alone in the first slot an item of mass m is chosen among m + 1, the organic mass being 1. That
    the shopper goes on at all is taken for certain, which is alike for all ads of a page, and so
    neither the ranking nor a price per click depends on it.
    """

    def __init__(self, model: SequenceModel) -> None:
        self.model = model

    @torch.no_grad()
    def pctr(self, observation: Observation, item_A: Tensor) -> Tensor:
        """See `CtrModel`."""
        assert isinstance(observation.encoder, SequenceState)
        typical = self.model.typical(self.model.read(observation.encoder))
        log_mass_NI = self.model.appeal(typical, observation.visit, observation.price)
        return torch.sigmoid(log_mass_NI.index_select(-1, item_A))


class FlatCtr:
    """The same for every shopper, where no model is fitted.

    Args:
        rate: probability of a click in the first slot, one for all campaigns or one each, [A].
    """

    def __init__(self, rate: float | Tensor = 0.02) -> None:
        self.rate = rate

    def pctr(self, observation: Observation, item_A: Tensor) -> Tensor:
        """See `CtrModel`."""
        gap_N = observation.visit.gap
        rate_A = torch.as_tensor(self.rate, dtype=gap_N.dtype, device=gap_N.device)
        return rate_A.expand(len(gap_N), len(item_A))


def error_of(num_campaigns: int, std: float, seed: int) -> Tensor:
    """What each campaign's estimates are multiplied by, [A]: log-normal with mean 1."""
    campaign_A = torch.arange(num_campaigns)
    key_A = rng.key(torch.full_like(campaign_A, seed), campaign_A, 0, Purpose.CTR_ERROR)
    return (std * rng.normal(key_A, dtype=torch.float64) - std**2 / 2).exp()
