"""What moves a user model's state on: the part in which alone the kinds of the family differ.

A memory reads the same inputs whatever its kind (`recgym.users.senses`), and says one vector of H
that the heads read. A fit unrolls it over whole sessions and a simulator steps it: both say the
same. Steps of many sessions lie in lock-step order (`likelihood.Steps`): ``active[t]`` of the
sessions, which are the first ones, reach step t.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from recgym.lanes import Record


class Stepping(Protocol):
    """The weights of a memory as single steps use them, a record that all lanes share.

    What it keeps from step to step beside what it says is a record that only it reads: hence
    ``Any``.
    """

    def begin(self, begun: Tensor) -> tuple[Tensor, Any]:
        """What is said [N, H] and kept before the first event; ``begun`` is `num_begun` times H."""
        ...

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Any) -> tuple[Tensor, Any]:
        """What is said and kept after an event; ``inputs`` are parts of [N, X]."""
        ...


class Memory(Protocol):
    """The parameters of a memory of X inputs and H outputs, a module of torch."""

    def fused(self) -> Stepping:
        """Its weights as they are now, as a step uses them."""
        ...

    def unroll(
        self,
        h: Tensor,
        kept: Any,
        inputs_nX: Tensor,
        active: list[int],
        *,
        going: bool = False,
    ) -> Tensor:
        """What is said before each step, [n, H], from where `Stepping.begin` left B sessions.

        Or, if they are ``going`` already, from where `Stepping.step` did.
        """
        ...


@dataclass(frozen=True)
class Nothing(Record):
    """All that is kept where a memory needs no more than what it says."""


def packed(inputs_nX: Tensor, active: list[int]) -> nn.utils.rnn.PackedSequence:
    """Steps in lock-step order as torch's recurrent layers read them."""
    return nn.utils.rnn.PackedSequence(inputs_nX, torch.tensor(active))


def before(first_BH: Tensor, after_nH: Tensor, active: list[int]) -> Tensor:
    """What was said before each step, [n, H], of what was said at first and after each step."""
    parts, first = [first_BH], 0
    for now, following in itertools.pairwise(active):
        parts.append(after_nH[first : first + following])
        first += now
    return torch.cat(parts)


class TorchLayer(nn.RNNBase):
    """What torch's recurrent layers share as memories; `unroll` is of those that keep nothing."""

    def unroll(
        self,
        h: Tensor,
        kept: Any,
        inputs_nX: Tensor,
        active: list[int],
        *,
        going: bool = False,
    ) -> Tensor:
        """What is said before each step, [n, H]; see `memory.Memory`."""
        after, _ = self(packed(inputs_nX, active), h.unsqueeze(0))
        return before(h, after.data, active)
