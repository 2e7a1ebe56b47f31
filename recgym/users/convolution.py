"""The convolutional user model: short patterns of events first, then an LSTM over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recgym.lanes import Record, Shared
from recgym.settings import Count
from recgym.users import lstm
from recgym.users.sequence import SequenceModel


@dataclass(frozen=True)
class Kept(Record):
    """Of a convolution and an LSTM, beside what it says."""

    cell: lstm.Kept
    recent: Tensor  # [N, (k - 1) X] inputs of the last events, the newest last; 0 before the first


@dataclass(frozen=True)
class Fused(Shared):
    """The weights as single steps use them."""

    weight: Tensor  # [k X, H]
    bias: Tensor  # [H]
    cell: lstm.Fused
    num_recent: int  # (k - 1) X

    def begin(self, begun: Tensor) -> tuple[Tensor, Kept]:
        """No event yet."""
        h_NH, cell = self.cell.begin(begun)
        return h_NH, Kept(cell, h_NH.new_zeros(len(h_NH), self.num_recent))

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Kept) -> tuple[Tensor, Kept]:
        """What is said and kept after a step; ``inputs`` are parts of [N, X]."""
        seen_NX = torch.cat([kept.recent, *inputs], -1)
        pattern_NH = torch.addmm(self.bias, seen_NX, self.weight).relu()
        h_NH, cell = self.cell.step([pattern_NH], h, kept.cell)
        num_inputs = seen_NX.shape[-1] - kept.recent.shape[-1]
        return h_NH, Kept(cell, seen_NX[:, num_inputs:])


class Convolution(nn.Module):
    """A causal convolution over the last k events and an LSTM, X inputs and H outputs."""

    def __init__(self, num_inputs: int, hidden: int, *, width: int) -> None:
        super().__init__()
        self.num_inputs, self.width = num_inputs, width
        self.pattern = nn.Linear(width * num_inputs, hidden)
        self.lstm = lstm.Cell(hidden, hidden)

    def fused(self) -> Fused:
        """Its weights as they are now, as a step uses them."""
        weight, bias = self.pattern.weight.T.contiguous(), self.pattern.bias
        return Fused(weight, bias, self.lstm.fused(), (self.width - 1) * self.num_inputs)

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
        begun = kept.recent.split(self.num_inputs, -1)[: self.width - 1]
        recent = [_earlier(begun[place:], inputs_nX, active) for place in range(len(begun))]
        pattern_nH = self.pattern(torch.cat([*recent, inputs_nX], -1)).relu()
        return self.lstm.unroll(h, kept.cell, pattern_nH, active)


def _earlier(begun: Sequence[Tensor], inputs_nX: Tensor, active: list[int]) -> Tensor:
    """The inputs as many steps before each as there are ``begun``, [n, X], which come first."""
    parts = [*begun, *inputs_nX.split(active)]
    return torch.cat([part[:count] for part, count in zip(parts, active, strict=False)])


class ConvolutionUserModel(SequenceModel):
    """A convolution over a few events and an LSTM.

    Zhou et al. 2015, "A C-LSTM neural network for text classification", section 3.
    Deviation: the convolution sees the event itself and those before, so that none tells of what
    follows; before the first event there are zeros.

    Args:
        width: k, events that a pattern is made of.
        **settings: those of `SequenceModel`.
    """

    num_begun = 2

    def __init__(self, *, width: Count = 3, **settings: Any) -> None:
        self.own = {"width": width}  # before the modules are made, of which it belongs to one
        super().__init__(**settings)

    def remembering(self, num_inputs: int, hidden: int) -> Convolution:
        """H patterns, and one layer."""
        return Convolution(num_inputs, hidden, **self.own)
