"""Which sessions a fit reads, and in which batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recgym.types import Sessions, Split


def batches(
    length_B: Tensor, batch_steps: int, generator: torch.Generator | None
) -> Iterator[Tensor]:
    """Rows of sessions of like length, about ``batch_steps`` steps each, in random order.

    Sessions are sorted by their length, ties at random, and cut: a batch runs as many steps one
    after another as its longest session has, and what its others lack would be idle (bucketing;
    Khomenko et al. 2016, "Accelerating recurrent neural network training using sequence bucketing
    and multi-GPU data parallelization"). Without a generator batches come by length.
    """
    order_B = torch.arange(len(length_B))
    if generator is not None:
        jitter_B = length_B + torch.rand(len(length_B), generator=generator)
        order_B = jitter_B.argsort()
    else:
        order_B = length_B.argsort()
    edge_B = (length_B[order_B].cumsum(0) / batch_steps).long()
    parts = torch.split(order_B, torch.unique_consecutive(edge_B, return_counts=True)[1].tolist())
    sequence = (
        torch.randperm(len(parts), generator=generator).tolist()
        if generator is not None
        else range(len(parts))
    )
    for i in sequence:
        yield parts[i]


def resampled(sessions: Sessions, row_B: Tensor, generator: torch.Generator) -> Tensor:
    """These sessions, of as many shoppers drawn with replacement; a row may come more than once.

    Shoppers are drawn, not sessions: those of one shopper are alike (Efron and Tibshirani 1993,
    "An introduction to the bootstrap", section 8.3, on what the independent units are).
    """
    _, who_B = sessions.shopper[row_B].unique(return_inverse=True)
    count = int(who_B.max()) + 1
    drawn_U = torch.randint(count, (count,), generator=generator)
    return row_B.repeat_interleave(torch.bincount(drawn_U, minlength=count)[who_B])


def rows_of(sessions: Sessions, *splits: Split) -> Tensor:
    """Rows of the sessions in these splits."""
    chosen_B = torch.isin(sessions.split, torch.tensor([int(s) for s in splits]))
    return chosen_B.nonzero().squeeze(-1)


def steps_of(sessions: Sessions, row_B: Tensor) -> Tensor:
    """Rows of the log's steps in these sessions, as often as a session is named."""
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    skipped_B = sessions.offset[row_B] - (length_B.cumsum(0) - length_B)
    return torch.arange(int(length_B.sum())) + skipped_B.repeat_interleave(length_B)
