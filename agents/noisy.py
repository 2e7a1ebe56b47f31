"""Linear layers with learned noise on their weights, for exploration.

Paper: Fortunato et al. 2018, "Noisy networks for exploration", equations 9 to 11 and section 3.2:
y = (m + s * e) x + b + s' * e', with factorised noise e_ij = f(e_i) f(e_j), e'_i = f(e_i) and
f(x) = sgn(x) sqrt(|x|). As it is factorised, noise of each row's own costs one more product:
(s * e) x = f(e_i) * s (f(e_j) * x). So each lane acts with noise of its own, a function of its
seed, session and page; the paper has one draw for all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import rng
from recgym.rng import Purpose


class NoisyLinear(nn.Linear):
    """A linear layer; its means begin as those of `nn.Linear`, which are the paper's.

    Args:
        inputs, outputs: its width.
        sigma: sigma_0, the noise at first, in units of 1 / sqrt(inputs).
        number: of the layer: layers of one key have noise of their own.
    """

    def __init__(self, inputs: int, outputs: int, sigma: float, number: int) -> None:
        super().__init__(inputs, outputs)
        self.number = number
        start = sigma / math.sqrt(inputs)
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), start))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), start))

    def forward(self, x_NJ: Tensor, key_N: Tensor | None = None) -> Tensor:
        """Outputs [N, outputs]; ``key_N`` [N] or, one draw for all, [1]; None for mean weights."""
        if key_N is None:
            return super().forward(x_NJ)
        from_NJ, to_NO = self.noise(key_N)
        if len(key_N) == 1:  # all rows alike: cheaper by one product of the batch
            weight_OJ = self.weight + self.weight_sigma * torch.outer(to_NO[0], from_NJ[0])
            return F.linear(x_NJ, weight_OJ, self.bias + self.bias_sigma * to_NO[0])
        return super().forward(x_NJ) + to_NO * F.linear(
            x_NJ * from_NJ, self.weight_sigma, self.bias_sigma
        )

    def noise(self, key_N: Tensor) -> tuple[Tensor, Tensor]:
        """f(e) of inputs and outputs, [N, inputs] and [N, outputs]."""
        own_N = rng.mix(key_N + self.number)
        e_NX = rng.normal(own_N, self.in_features + self.out_features, self.weight.dtype)
        found_NJ, found_NO = (e_NX.sign() * e_NX.abs().sqrt()).split(
            [self.in_features, self.out_features], -1
        )
        return found_NJ, found_NO


def step_key(seed_1: Tensor, step: int, number: int) -> Tensor:
    """Key [1] of one draw for all rows, a function of seed and step: nothing is to be saved."""
    return rng.key(seed_1, torch.full_like(seed_1, step), number, Purpose.EXPLORE)
