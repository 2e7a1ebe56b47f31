"""The transformer user model: no state but the events themselves, in sight as keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recgym.errors import UserError
from recgym.lanes import Shared
from recgym.settings import Count
from recgym.users.memory import before
from recgym.users.sequence import SequenceModel
from recgym.users.windows import (
    Pair,
    Window,
    bias_of,
    by_session,
    in_lock_step,
    look_back,
    opened,
    unrolled,
)


class Block(nn.Module):
    """Attention and two layers for each event, each added to what was there.

    Args:
        hidden: H.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.before_look, self.before_layers = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.ask = nn.Linear(hidden, 3 * hidden)
        self.seen = nn.Linear(hidden, hidden)
        self.layers = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden)
        )

    def asks(self, said: Tensor) -> tuple[Tensor, Tensor]:
        """The query [..., H], and the key and value that others will see [..., 2 H]."""
        asked: Tensor = self.ask(self.before_look(said))
        hidden = said.shape[-1]
        query, pair = asked.split([hidden, 2 * hidden], -1)
        return query, pair

    def forward(self, said: Tensor, seen: Tensor) -> Tensor:
        """What is said after what was ``seen`` in answer to the query."""
        said = said + self.seen(seen)
        added: Tensor = said + self.layers(self.before_layers(said))
        return added


@dataclass(frozen=True)
class Whole(Shared):
    """The transformer as single steps use it: its modules as they are."""

    network: Transformer

    def begin(self, begun: Tensor) -> tuple[Tensor, Window]:
        """What is said of a session's beginning, the event that all others see."""
        pairs, network = [], self.network
        for block in network.blocks:
            _, pair = block.asks(begun)
            begun = block(begun, _halves(pair)[1])  # alone, it sees itself
            pairs.append(pair)
        said: Tensor = network.last(begun)
        return said, opened(torch.cat(pairs, -1), network.window)

    def step(self, inputs: Sequence[Tensor], h: Tensor, kept: Window) -> tuple[Tensor, Window]:
        """What is said after an event; ``inputs`` are parts of [N, X]."""
        pairs, network = [], self.network
        said, bias = network.inward(torch.cat([*inputs], -1)), bias_of(kept, network.slope)
        first, earlier = network.of_blocks(kept.first), network.of_blocks(kept.earlier)
        for block, begun, past in zip(network.blocks, first, earlier, strict=True):
            query, pair = block.asks(said)
            seen = look_back(query, _halves(pair), _halves(begun), _halves(past), bias)
            said = block(said, seen)
            pairs.append(pair)
        return network.last(said), kept.pushed(torch.cat(pairs, -1))


class Transformer(nn.Module):
    """Blocks over the beginning of a session and its last events, X inputs and H outputs."""

    blocks: Sequence[Block]
    slope: Tensor  # [A]

    def __init__(
        self, num_inputs: int, hidden: int, *, window: int, layers: int, attention_heads: int
    ) -> None:
        super().__init__()
        if hidden % attention_heads:
            raise UserError(
                f"user_model.model.attention_heads={attention_heads}: expected a divisor of "
                f"hidden={hidden}; set 1, 2 or 4."
            )
        self.window = window
        self.inward = nn.Linear(num_inputs, hidden)
        self.blocks = nn.ModuleList(Block(hidden) for _ in range(layers))  # type: ignore[assignment]
        self.last = nn.LayerNorm(hidden)
        # 2^(-8 / A), 2^(-16 / A), ..., 2^-8
        power_A = torch.arange(1, attention_heads + 1) * (-8.0 / attention_heads)
        self.register_buffer("slope", power_A.exp2())

    def fused(self) -> Whole:
        """Itself."""
        return Whole(self)

    def of_blocks(self, pairs: Tensor) -> tuple[Tensor, ...]:
        """The part of each block."""
        return pairs.chunk(len(self.blocks), -1)

    def unroll(
        self,
        h: Tensor,
        kept: Window,
        inputs_nX: Tensor,
        active: list[int],
        *,
        going: bool = False,
    ) -> Tensor:
        """What is said before each step, [n, H]; see `memory.Memory`."""
        said = by_session(self.inward(inputs_nX), active)
        first, past = self.of_blocks(kept.first), self.of_blocks(kept.earlier)
        for block, begun, before_it in zip(self.blocks, first, past, strict=True):
            query, pair = block.asks(said)
            earlier = (*_halves(before_it), kept.filled) if going else None
            own = _halves(pair)
            seen = unrolled(query, own, _halves(begun), self.window, self.slope, earlier)
            said = block(said, seen)
        return before(h, in_lock_step(self.last(said), active), active)


def _halves(pair: Tensor) -> Pair:
    key, value = pair.chunk(2, -1)
    return key, value


class TransformerUserModel(SequenceModel):
    """A causal transformer.

    Vaswani et al. 2017, "Attention is all you need", section 3; over sessions as in SASRec (Kang
    and McAuley 2018, "Self-attentive sequential recommendation", section III).
    Deviations: layers are normed before they are applied (Xiong et al. 2020, "On layer
    normalization in the transformer architecture", the Pre-LN layer); distances in place of places
    (ALiBi, see `windows.bias_of`); GELU; the inner layer is 2 H wide and not 4; no dropout but that
    on the output. In each block an event sees the last W, itself included, and the beginning, which
    holds the profile and the hour. What is older still acts through the tallies, beliefs and fading
    means of `SequenceState`, which no window cuts off.

    Args:
        window: W, events in sight.
        layers: blocks one after another.
        attention_heads: A, a divisor of ``hidden``.
        **settings: those of `SequenceModel`.
    """

    def __init__(
        self,
        *,
        window: Count = 32,
        layers: Count = 2,
        attention_heads: Count = 4,
        **settings: Any,
    ) -> None:
        # before the modules are made, of which these belong to one
        self.own = {"window": window, "layers": layers, "attention_heads": attention_heads}
        super().__init__(**settings)

    def remembering(self, num_inputs: int, hidden: int) -> Transformer:
        """All blocks."""
        return Transformer(num_inputs, hidden, **self.own)
