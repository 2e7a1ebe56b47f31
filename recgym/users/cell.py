"""An LSTM that steps as fast as a CPU can, and unrolls over sessions of unequal length."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recgym.types import Shared
from recgym.users.products import tanh


@dataclass(frozen=True)
class Fused(Shared):
    """The weights of a cell for single steps: one product, one pass of sigmoid over all gates."""

    weight: Tensor  # [X + H, 4 H]
    bias: Tensor  # [4 H]

    def step(self, inputs: Sequence[Tensor], h_NH: Tensor, c_NH: Tensor) -> tuple[Tensor, Tensor]:
        """Output and memory after a step; ``inputs`` are parts of [N, X]."""
        gates_NG = torch.addmm(self.bias, torch.cat([*inputs, h_NH], -1), self.weight)
        new_NH, kept_NH, half_NH, out_NH = gates_NG.sigmoid_().chunk(4, -1)
        c_NH = kept_NH * c_NH + new_NH * (2.0 * half_NH - 1.0)
        return out_NH * tanh(c_NH), c_NH


class Cell(nn.LSTM):
    """One layer, X inputs and H outputs."""

    def fused(self) -> Fused:
        """Its weights as they are now, as a step uses them."""
        input_GX, hidden_GH, input_G, hidden_G = self.all_weights[0]
        weight_GX, bias_G = torch.cat([input_GX, hidden_GH], 1), input_G + hidden_G
        # the candidate's tanh by way of the sigmoid: see `tanh`
        scale_G1 = torch.ones_like(bias_G).unsqueeze(-1)
        scale_G1[2 * self.hidden_size : 3 * self.hidden_size] = 2.0
        # a product with aligned rows is a third faster where X + H is odd
        return Fused((weight_GX * scale_G1).T.contiguous(), bias_G * scale_G1.squeeze(-1))

    def unroll(self, h_BH: Tensor, c_BH: Tensor, inputs_nX: Tensor, active: list[int]) -> Tensor:
        """The output before each step, [n, H], of sessions in lock-step order (`likelihood.Steps`).

        ``active[t]`` of the sessions, which are the first ones, reach step t.
        """
        packed = nn.utils.rnn.PackedSequence(inputs_nX, torch.tensor(active))
        after, _ = self(packed, (h_BH.unsqueeze(0), c_BH.unsqueeze(0)))
        before, first = [h_BH], 0
        for now, following in itertools.pairwise(active):
            before.append(after.data[first : first + following])
            first += now
        return torch.cat(before)
