"""Scales of what a network of ads reads, taken once from the first step of all lanes.

Probabilities of a click are about 0.02, money is any currency's, and the encoder's state is of its
own size: a network learns from all of them only if each is brought to about 1. The scales are set
before anything is learned and then stay, so that what was learned keeps its meaning.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.ads.base import NUM_TOLD, described
from recgym.ads.records import Options

LEAST = 1e-6  # of a standard deviation: a feature that does not vary says nothing
FURTHEST = 5.0  # standard deviations from the mean; what lies beyond counts as this far


class Scale(nn.Module):
    """Means and standard deviations; all is left as it is until `take`.

    Args:
        num_features: O, of an observation.
        num_option: X, of an option, without what `described` adds.
    """

    def __init__(self, num_features: int, num_option: int) -> None:
        super().__init__()
        for name, size in (("state", num_features), ("option", num_option + NUM_TOLD)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("unit", torch.ones(()))  # currency units

    unit: Tensor
    state_mean: Tensor
    state_std: Tensor
    option_mean: Tensor
    option_std: Tensor

    @torch.no_grad()
    def take(self, feature_NO: Tensor, options: Options, reward_N: Tensor) -> None:
        """Set the scales by one step of all lanes.

        Money counts in the standard deviation of the reward, or, where that is more, in the mean of
        what the best option pays.
        """
        most_N = options.payment.masked_fill(~options.allowed, 0.0).amax(-1)
        unit = torch.maximum(reward_N.std(correction=0), most_N.mean())
        self.unit.copy_(torch.where(unit > 0, unit, 1.0))
        rows_RX = described(options, self.unit)[options.allowed]
        for name, rows in (("state", feature_NO), ("option", rows_RX)):
            std = rows.var(0, correction=0).sqrt() if rows.numel() else rows.new_ones(0)
            getattr(self, f"{name}_mean").copy_(rows.mean(0))
            getattr(self, f"{name}_std").copy_(torch.where(std > LEAST, std, 1.0))

    def state(self, feature_NO: Tensor) -> Tensor:
        """An observation's features, of about unit size."""
        return _scaled(feature_NO, self.state_mean, self.state_std)

    def options(self, options: Options) -> Tensor:
        """The features of `described`, of about unit size, [N, J, NUM_TOLD + X]."""
        return _scaled(described(options, self.unit), self.option_mean, self.option_std)


def _scaled(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return ((value - mean) / std).clamp(-FURTHEST, FURTHEST)
