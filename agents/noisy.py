"""Linear layers with learned noise on their weights, for exploration.

Paper: Fortunato et al. 2018, "Noisy networks for exploration", equations 9 to 11 and section 3.2:
y = (m + s * e) x + b + s' * e', with factorised noise e_ij = f(e_i) f(e_j), e'_i = f(e_i) and
f(x) = sgn(x) sqrt(|x|). As it is factorised, noise of each row's own costs one more product:
(s * e) x = f(e_i) * s (f(e_j) * x). So each lane acts with noise of its own, a function of its
seed, session and page; the paper has one draw for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import rng
from recgym.rng import Purpose


class Noise(NamedTuple):
    """f(e) of one layer, of each row's own or, one draw for all, of one row."""

    given: Tensor  # [N, inputs]
    put: Tensor  # [N, outputs]


class NoisyLinear(nn.Linear):
    """A linear layer; its means begin as those of `nn.Linear`, which are the paper's.

    Args:
        inputs, outputs: its width.
        sigma: sigma_0, the noise at first, in units of 1 / sqrt(inputs).
    """

    def __init__(self, inputs: int, outputs: int, sigma: float) -> None:
        super().__init__(inputs, outputs)
        start = sigma / math.sqrt(inputs)
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), start))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), start))

    def forward(self, x_NJ: Tensor, noise: Noise | None = None) -> Tensor:
        """Outputs [N, outputs]; without noise of the mean weights."""
        if noise is None:
            return super().forward(x_NJ)
        given_NJ, put_NO = noise
        if len(given_NJ) == 1:  # all rows alike: cheaper by one product of the batch
            weight_OJ = self.weight + self.weight_sigma * torch.outer(put_NO[0], given_NJ[0])
            return F.linear(x_NJ, weight_OJ, self.bias + self.bias_sigma * put_NO[0])
        return super().forward(x_NJ) + put_NO * F.linear(
            x_NJ * given_NJ, self.weight_sigma, self.bias_sigma
        )


def draw(layers: Sequence[NoisyLinear], key_N: Tensor) -> list[Noise]:
    """Noise of all layers of a network, each its own; ``key_N`` [N] or, one draw for all, [1]."""
    # together: many draws of a hundred numbers each take longer than the products they serve
    widths = [width for layer in layers for width in (layer.in_features, layer.out_features)]
    e_NX = rng.normal(key_N, sum(widths), layers[0].weight.dtype)
    found = (e_NX.sign() * e_NX.abs().sqrt()).split(widths, -1)
    return [Noise(given, put) for given, put in zip(found[::2], found[1::2], strict=True)]


def step_key(seed_1: Tensor, step: int, number: int) -> Tensor:
    """Key [1] of one draw for all rows, a function of seed and step: nothing is to be saved."""
    return rng.key(seed_1, torch.full_like(seed_1, step), number, Purpose.EXPLORE)
