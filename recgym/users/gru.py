"""The GRU user model: two gates and no cell of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recgym.lanes import Shared
from recgym.users.memory import Nothing, TorchLayer
from recgym.users.products import tanh
from recgym.users.sequence import SequenceModel


@dataclass(frozen=True)
class Fused(Shared):
    """The weights of a layer for single steps: one product for both gates and the candidate.

    The candidate's parts of input and state stand apart, since a gate comes between: either has
    zeros where the other reads.
    """

    weight: Tensor  # [X + H, 4 H] of the gates of reset and of keeping, and of both parts
    bias: Tensor  # [4 H]

    def begin(self, begun: Tensor) -> tuple[Tensor, Nothing]:
        """As it is."""
        return begun, Nothing()

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Nothing) -> tuple[Tensor, Nothing]:
        """What is said after a step; ``inputs`` are parts of [N, X]."""
        sums_NG = torch.addmm(self.bias, torch.cat([*inputs, h], -1), self.weight)
        hidden = h.shape[-1]
        gates_NG, read_NH, said_NH = sums_NG.split([2 * hidden, hidden, hidden], -1)
        reset_NH, kept_NH = gates_NG.sigmoid().chunk(2, -1)
        new_NH = tanh(read_NH + reset_NH * said_NH)
        return new_NH + kept_NH * (h - new_NH), kept


class Layer(TorchLayer, nn.GRU):
    """One layer, X inputs and H outputs."""

    def fused(self) -> Fused:
        """Its weights as they are now, as a step uses them."""
        input_GX, hidden_GH, input_G, hidden_G = self.all_weights[0]
        gates = 2 * self.hidden_size
        of_gates = torch.cat([input_GX[:gates], hidden_GH[:gates]], 1)
        of_input = torch.cat([input_GX[gates:], torch.zeros_like(hidden_GH[gates:])], 1)
        of_state = torch.cat([torch.zeros_like(input_GX[gates:]), hidden_GH[gates:]], 1)
        weight = torch.cat([of_gates, of_input, of_state]).T.contiguous()
        bias = torch.cat([input_G[:gates] + hidden_G[:gates], input_G[gates:], hidden_G[gates:]])
        return Fused(weight, bias)


class GRUUserModel(SequenceModel):
    """A gated recurrent unit.

    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation", equations 5 to 8; over sessions as in GRU4Rec (Hidasi et al. 2016,
    "Session-based recommendations with recurrent neural networks").
    One deviation, torch's: the gate of reset comes after the product with the state, not before.
    Its arguments are those of `SequenceModel`.
    """

    def remembering(self, num_inputs: int, hidden: int) -> Layer:
        """One layer."""
        return Layer(num_inputs, hidden)
