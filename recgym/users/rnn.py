"""The plain recurrent user model: no gates, the least that carries a state on."""

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
    """The weights of a layer for single steps: one product."""

    weight: Tensor  # [X + H, H]
    bias: Tensor  # [H]

    def begin(self, begun: Tensor) -> tuple[Tensor, Nothing]:
        """As it is."""
        return begun, Nothing()

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Nothing) -> tuple[Tensor, Nothing]:
        """What is said after a step; ``inputs`` are parts of [N, X]."""
        return tanh(torch.addmm(self.bias, torch.cat([*inputs, h], -1), self.weight)), kept


class Layer(TorchLayer, nn.RNN):
    """One layer, X inputs and H outputs."""

    def fused(self) -> Fused:
        """Its weights as they are now, as a step uses them."""
        input_HX, hidden_HH, input_H, hidden_H = self.all_weights[0]
        return Fused(torch.cat([input_HX, hidden_HH], 1).T.contiguous(), input_H + hidden_H)


class RNNUserModel(SequenceModel):
    """A network of one tanh layer (Elman 1990, "Finding structure in time").

    Its arguments are those of `SequenceModel`.
    """

    def remembering(self, num_inputs: int, hidden: int) -> Layer:
        """One layer."""
        return Layer(num_inputs, hidden)
