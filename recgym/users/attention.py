"""The LSTM user model with attention: it looks back at what it said after each event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recgym.lanes import Record, Shared
from recgym.settings import Count
from recgym.users import lstm
from recgym.users.memory import before
from recgym.users.products import tanh
from recgym.users.sequence import SequenceModel
from recgym.users.windows import (
    Window,
    bias_of,
    by_session,
    in_lock_step,
    look_back,
    opened,
    unrolled,
)


@dataclass(frozen=True)
class Kept(Record):
    """Of an LSTM that looks back, beside what it says of it all."""

    h: Tensor  # [N, H] what the LSTM itself says
    cell: lstm.Kept
    seen: Window  # [N, H] of each event what the LSTM said after it


@dataclass(frozen=True)
class Looking(Shared):
    """The memory as single steps use it."""

    cell: lstm.Fused
    memory: LookingBack  # of which a step uses the two layers

    def begin(self, begun: Tensor) -> tuple[Tensor, Kept]:
        """The LSTM's own beginning, which stays in sight."""
        h_NH, cell = self.cell.begin(begun)
        return self.memory.says(h_NH, h_NH), Kept(h_NH, cell, opened(h_NH, self.memory.window))

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Kept) -> tuple[Tensor, Kept]:
        """What is said and kept after a step; ``inputs`` are parts of [N, X]."""
        h_NH, cell = self.cell.step(inputs, kept.h, kept.cell)
        memory, past = self.memory, kept.seen
        begun, earlier = (past.first, past.first), (past.earlier, past.earlier)
        bias = bias_of(past, memory.slope)
        seen_NH = look_back(memory.ask(h_NH), (h_NH, h_NH), begun, earlier, bias)
        return memory.says(h_NH, seen_NH), Kept(h_NH, cell, past.pushed(h_NH))


class LookingBack(nn.Module):
    """An LSTM and its attention, X inputs and H outputs."""

    slope: Tensor  # [1] 0: what the LSTM said tells by itself how long ago it was

    def __init__(self, num_inputs: int, hidden: int, *, window: int) -> None:
        super().__init__()
        self.window = window
        self.lstm = lstm.Cell(num_inputs, hidden)
        self.ask = nn.Linear(hidden, hidden, bias=False)
        self.both = nn.Linear(2 * hidden, hidden, bias=False)
        self.register_buffer("slope", torch.zeros(1))

    def fused(self) -> Looking:
        """As a step uses it."""
        return Looking(self.lstm.fused(), self)

    def says(self, h: Tensor, seen: Tensor) -> Tensor:
        """Of what the LSTM says and what was seen, each [..., H]."""
        return tanh(self.both(torch.cat([seen, h], -1)))

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
        h_BTH = by_session(self.lstm.run(kept.h, kept.cell, inputs_nX, active), active)
        past = kept.seen
        own, begun = (h_BTH, h_BTH), (past.first, past.first)
        earlier = (past.earlier, past.earlier, past.filled) if going else None
        seen_BTH = unrolled(self.ask(h_BTH), own, begun, self.window, self.slope, earlier)
        return before(h, in_lock_step(self.says(h_BTH, seen_BTH), active), active)


class AttentionUserModel(SequenceModel):
    """An LSTM with attention over its past outputs.

    Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
    translation", equations 5, 7 and 8, "general"; sessions are so read by NARM (Li et al. 2017,
    "Neural attentive session-based recommendation"). Deviations: scores are divided by the root of
    H (Vaswani et al. 2017, "Attention is all you need", equation 1); the present output is among
    those looked at, and of the past only the last W - 1 and the beginning: what is older still acts
    through the LSTM itself.

    Args:
        window: W, events in sight, the present one included.
        **settings: those of `SequenceModel`.
    """

    num_begun = 2

    def __init__(self, *, window: Count = 32, **settings: Any) -> None:
        self.own = {"window": window}  # before the modules are made, of which it belongs to one
        super().__init__(**settings)

    def remembering(self, num_inputs: int, hidden: int) -> LookingBack:
        """One layer, and one head."""
        return LookingBack(num_inputs, hidden, **self.own)
