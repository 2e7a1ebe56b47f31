"""The LSTM user model: a memory that steps as fast as a CPU can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recgym.lanes import Record, Shared
from recgym.users.memory import TorchLayer, before, packed
from recgym.users.products import tanh
from recgym.users.sequence import SequenceModel


@dataclass(frozen=True)
class Kept(Record):
    """Of an LSTM beside what it says."""

    c: Tensor  # [N, H]


@dataclass(frozen=True)
class Fused(Shared):
    """The weights of a cell for single steps: one product, one pass of sigmoid over all gates."""

    weight: Tensor  # [X + H, 4 H]
    bias: Tensor  # [4 H]

    def begin(self, begun: Tensor) -> tuple[Tensor, Kept]:
        """Both halves as they are."""
        h_NH, c_NH = begun.chunk(2, -1)
        return h_NH, Kept(c_NH)

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Kept) -> tuple[Tensor, Kept]:
        """What is said and kept after a step; ``inputs`` are parts of [N, X]."""
        gates_NG = torch.addmm(self.bias, torch.cat([*inputs, h], -1), self.weight)
        new_NH, kept_NH, half_NH, out_NH = gates_NG.sigmoid_().chunk(4, -1)
        c_NH = kept_NH * kept.c + new_NH * (2.0 * half_NH - 1.0)
        return out_NH * tanh(c_NH), Kept(c_NH)


class Cell(TorchLayer, nn.LSTM):
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

    def unroll(
        self,
        h: Tensor,
        kept: Kept,
        inputs_nX: Tensor,
        active: list[int],
        *,
        going: bool = False,
    ) -> Tensor:
        """What is said before each step, [n, H]; see `memory.Memory`."""
        return before(h, self.run(h, kept, inputs_nX, active), active)

    def run(self, h: Tensor, kept: Kept, inputs_nX: Tensor, active: list[int]) -> Tensor:
        """What is said after each step, [n, H]."""
        start = h.unsqueeze(0), kept.c.unsqueeze(0)
        after, _ = self(packed(inputs_nX, active), start)
        after_nH: Tensor = after.data
        return after_nH


class LSTMUserModel(SequenceModel):
    """The reference of the family (Hochreiter and Schmidhuber 1997, "Long short-term memory").

    Forget gates are those of Gers, Schmidhuber and Cummins 2000, "Learning to forget", as torch's.
    Its arguments are those of `SequenceModel`.
    """

    num_begun = 2
    memory: Cell

    def remembering(self, num_inputs: int, hidden: int) -> Cell:
        """One layer."""
        return Cell(num_inputs, hidden)
