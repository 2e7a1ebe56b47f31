"""Prepared sessions as a user model reads them: views found alone, each session left at its end."""

from __future__ import annotations

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from experiments.predicting.autoregressive import item_vectors
from experiments.predicting.base import Views
from experiments.publishing.protocol import Prepared
from recgym.types import DAY_MS, Catalog, Event, Kind, Page, Sessions, Split

DIMS = 64  # of the vectors that items are grouped by


def as_sessions(prepared: Prepared, valid_share: float) -> Sessions:
    """All sessions; of the training ones the last to start are set apart for validation."""
    length_B = prepared.offset.diff() + 1  # with the leave step
    offset = torch.cat([length_B.new_zeros(1), length_B.cumsum(0)])
    view_S = torch.ones(int(offset[-1]), dtype=torch.bool)
    view_S[offset[1:] - 1] = False

    def of_views(value_V: Tensor, at_leave: int) -> Tensor:
        value_S = torch.full((len(view_S),), at_leave, dtype=value_V.dtype)
        value_S[view_S] = value_V
        return value_S

    time_S = of_views(prepared.time_ms, 0)
    time_S[offset[1:] - 1] = prepared.time_ms[prepared.offset[1:] - 1]
    gap_S = time_S.diff(prepend=time_S[:1]).float() / 1000
    gap_S[offset[:-1]] = 0.0
    gap_S[offset[1:] - 1] = 0.0
    num_sessions, train = len(length_B), int((~prepared.is_test).sum())
    split_B = torch.full((num_sessions,), int(Split.TEST))
    split_B[:train] = int(Split.TRAIN)
    split_B[train - max(1, round(valid_share * train)) : train] = int(Split.VALID)
    nothing_S = torch.zeros_like(time_S)
    none_S0 = nothing_S.new_zeros(len(time_S), 0)
    return Sessions(
        event=Event(
            kind=torch.where(view_S, int(Kind.VIEW), int(Kind.LEAVE)),
            item=of_views(prepared.item, -1),
            slot=torch.full_like(nothing_S, -1),
            after=nothing_S,
            price=view_S.float(),
            quantity=nothing_S.float(),
            gap=gap_S,
        ),
        page=Page(none_S0, none_S0.float()),
        time_ms=time_S,
        offset=offset,
        shopper=torch.arange(num_sessions),
        profile=torch.zeros(num_sessions, 0),
        split=split_B,
    )


def catalog_of(views: Views, num_groups: int, seed: int) -> Catalog:
    """Items without price or feature; their categories are groups of what is viewed together.

    A user model finds an item within its category, and the protocol gives none. Groups are made by
    k-means on the vectors of `item_vectors`, from the training sessions alone.
    """
    category = torch.zeros(views.num_items, dtype=torch.int64)
    groups = min(num_groups, views.num_items)
    if groups > 1:
        found = KMeans(groups, n_init=1, random_state=seed).fit(item_vectors(views, DIMS))
        category = torch.from_numpy(found.labels_).long()
    return Catalog(
        price=torch.ones(1, views.num_items),
        category=category,
        feature=torch.zeros(views.num_items, 1),
        start_ms=int(views.time_ms.min()) // DAY_MS * DAY_MS,
        num_categories=groups,
        priced=False,
    )
