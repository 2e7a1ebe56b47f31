"""Attention over the beginning of a session and its last W events, stepped and unrolled alike.

A simulator keeps the last W - 1 events in places that move on (a cache of keys and values), and a
fit masks all older ones: both look at the same events (Beltagy, Peters and Cohan 2020, "Longformer:
the long-document transformer", section 3.1, looking back only). The beginning stays in sight
whatever the window (Xiao et al. 2024, "Efficient streaming language models with attention sinks").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym.lanes import Record


@dataclass(frozen=True)
class Window(Record):
    """What is in sight of a session; V numbers of each event."""

    first: Tensor  # [N, V] of the beginning
    earlier: Tensor  # [N, W - 1, V] of the last events, the newest last
    filled: Tensor  # [N, W - 1] bool, which of these there are

    def pushed(self, new_NV: Tensor) -> Window:
        """With one event more, and the oldest one out of sight."""
        earlier_NWV = torch.cat([self.earlier, new_NV.unsqueeze(1)], 1)[:, 1:]
        filled_NW = F.pad(self.filled, (0, 1), value=True)[:, 1:]
        return Window(self.first, earlier_NWV, filled_NW)

    def distance(self) -> Tensor:
        """How many events ago each place is, seen from the next one, [W - 1]."""
        count = self.filled.shape[1]
        return torch.arange(count, 0, -1, device=self.filled.device)


Pair = tuple[Tensor, Tensor]  # keys and values


def opened(first_NV: Tensor, window: int) -> Window:
    """Before the first event; ``window`` is W."""
    count, size = first_NV.shape
    earlier_NWV = first_NV.new_zeros(count, window - 1, size)
    return Window(first_NV, earlier_NWV, torch.zeros_like(earlier_NWV[..., 0], dtype=torch.bool))


def look(query: Tensor, parts: Sequence[tuple[Tensor, Tensor, Tensor]], heads: int) -> Tensor:
    """Softmax attention over all parts at once, [..., Q, H].

    Vaswani et al. 2017, "Attention is all you need", equation 1 and section 3.2.2.

    Args:
        query: [..., Q, H].
        parts: keys [..., J, H], values [..., J, H] and what is added to scores, which broadcasts
            with [..., A, Q, J] and is -inf where a query may not look.
        heads: A, each of which takes H / A columns.
    """
    query = _split(query, heads)
    scale = query.shape[-1] ** -0.5
    scores = [scale * query @ _split(key, heads).mT + bias for key, _, bias in parts]
    shares = torch.cat(scores, -1).softmax(-1).split([score.shape[-1] for score in scores], -1)
    seen = [share @ _split(part[1], heads) for share, part in zip(shares, parts, strict=True)]
    return torch.stack(seen).sum(0).transpose(-3, -2).flatten(-2)


def look_back(query_NH: Tensor, new: Pair, first: Pair, earlier: Pair, bias: Tensor) -> Tensor:
    """One event's `look` at itself, the beginning and the earlier ones, [N, H].

    ``new`` and ``first`` are [N, H], ``earlier`` [N, W - 1, H], and ``bias`` is `bias_of` these.
    """
    none = bias.new_zeros(())
    begun = (first[0].unsqueeze(1), first[1].unsqueeze(1), none)
    own = (new[0].unsqueeze(1), new[1].unsqueeze(1), none)
    parts = [begun, (*earlier, bias), own]
    return look(query_NH.unsqueeze(1), parts, bias.shape[1]).squeeze(1)


def bias_of(kept: Window, slope_A: Tensor) -> Tensor:
    """What is added to the scores of the earlier events, [N, A, 1, W - 1].

    The further back the less, each head by a slope of its own, and no place by its number (Press,
    Smith and Lewis 2022, "Train short, test long: attention with linear biases", equation in
    section 3): places move on, and distances stay.
    """
    far_AW = -slope_A.unsqueeze(-1) * kept.distance().to(slope_A.dtype)
    there_N1W = kept.filled.unsqueeze(1)
    bias_NAW = far_AW.masked_fill(~there_N1W, -torch.inf)
    return bias_NAW.unsqueeze(2)


def unrolled(
    query_BTH: Tensor,
    own: Pair,
    first: Pair,
    window: int,
    slope_A: Tensor,
    earlier: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """`look_back` of all T events of B sessions at once, [B, T, H].

    ``own`` are [B, T, H] and ``first`` [B, H]. Events go in blocks of W, each of which looks at its
    own block and the one before, so that a long session costs no square of its length. ``earlier``
    are keys and values [B, W - 1, H] of what came before, if anything did, and what of it there is.
    """
    there_BT = None
    if earlier is not None:
        there_BT = F.pad(earlier[2], (0, query_BTH.shape[1]), value=True)
        query_BTH = F.pad(query_BTH, (0, 0, window - 1, 0))  # whose looks nobody asks for
        own = torch.cat([earlier[0], own[0]], 1), torch.cat([earlier[1], own[1]], 1)
    num_steps = query_BTH.shape[1]
    size = min(window, num_steps)
    count = -(-num_steps // size)

    def cut(value_BTH: Tensor) -> Tensor:
        whole_BTH = F.pad(value_BTH, (0, 0, 0, count * size - num_steps))
        blocks_BCSH: Tensor = whole_BTH.unflatten(1, (count, size))
        return blocks_BCSH

    def with_block_before(value_BCSH: Tensor) -> Tensor:
        before_BCSH = F.pad(value_BCSH, (0, 0, 0, 0, 1, 0))[:, :-1]
        return torch.cat([before_BCSH, value_BCSH], 2) if count > 1 else value_BCSH

    key, value = (with_block_before(cut(part)) for part in own)
    bias = _band(count, size, key.shape[2] - size, window, slope_A)
    if there_BT is not None:
        there_BCJ1 = with_block_before(cut(there_BT.unsqueeze(-1)))
        bias = bias.masked_fill(~there_BCJ1[:, :, None].mT, -torch.inf)
    begun = (first[0][:, None, None], first[1][:, None, None], bias.new_zeros(()))
    seen_BCSH = look(cut(query_BTH), [begun, (key, value, bias)], len(slope_A))
    seen_BTH = seen_BCSH.flatten(1, 2)[:, :num_steps]
    return seen_BTH if earlier is None else seen_BTH[:, window - 1 :]


def _band(count: int, size: int, before: int, window: int, slope_A: Tensor) -> Tensor:
    """Of queries in blocks and the keys of their own and ``before`` it, [C, A, S, J]."""
    place_S = torch.arange(size, device=slope_A.device)
    place_J = torch.arange(-before, size, device=slope_A.device)
    away_SJ = place_S.unsqueeze(-1) - place_J
    far_ASJ = -slope_A.view(-1, 1, 1) * away_SJ.to(slope_A.dtype)
    near_SJ = (away_SJ >= 0) & (away_SJ < window)
    block_C1 = torch.arange(count, device=slope_A.device).unsqueeze(-1)
    there_CJ = (block_C1 > 0) | (place_J >= 0)  # nothing comes before the first block
    seen_C1SJ = (near_SJ & there_CJ.unsqueeze(1)).unsqueeze(1)
    return far_ASJ.masked_fill(~seen_C1SJ, -torch.inf)


def by_session(value_nV: Tensor, active: list[int]) -> Tensor:
    """Steps in lock-step order as [B, T, V], 0 where a session has ended."""
    parts = [F.pad(part, (0, 0, 0, active[0] - len(part))) for part in value_nV.split(active)]
    return torch.stack(parts, 1)


def in_lock_step(value_BTV: Tensor, active: list[int]) -> Tensor:
    """The inverse of `by_session`."""
    return torch.cat([value_BTV[:count, t] for t, count in enumerate(active)])


def _split(value: Tensor, heads: int) -> Tensor:
    """[..., A, J, H / A] of [..., J, H]."""
    split: Tensor = value.unflatten(-1, (heads, -1)).transpose(-3, -2)
    return split
