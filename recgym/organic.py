"""What shoppers find alone: first the category, then an item of it.

P(i | s) = P(c(i) | s) · sum over z of P(z | s) P(i | c(i), z): a logit over categories, and within
a category a latent-class logit (Train 2009, "Discrete choice methods with simulation", section
6.2; Greene and Hensher 2003), whose classes are taste prototypes shared by all shoppers. The law
of each class is a table, so that to score an item or to draw one costs the same in a catalogue of
a thousand items and of a million, and no normaliser is left to approximate.

Where shoppers come to single items, a share of what is found is one of them, and the rest is of
this search: P(i) = sum over places j of share_j [i = item_j] + rest · P(i | s), a mixture as in
Ren et al. 2019, "RepeatNet: a repeat aware neural recommendation machine for session-based
recommendation", equation 1.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym.lanes import rows
from recgym.rng import pick
from recgym.types import ItemTable, Organic, Pointers

_BELOW_1 = 1.0 - 2.0**-24  # as uniforms are


def item_table(
    logit_IZ: Tensor, category_I: Tensor, num_categories: int, *, drawn: bool = True
) -> ItemTable:
    """The softmax of each class over the items of each category.

    Args:
        logit_IZ: utility of each item to each class.
        category_I: of each item, int64 in [0, num_categories).
        num_categories: C.
        drawn: whether items will be drawn from it; a fit only scores, and saves the sums.
    """
    peak_CZ = logit_IZ.new_full((num_categories, logit_IZ.shape[1]), -torch.inf)
    row_IZ = category_I.unsqueeze(-1).expand_as(logit_IZ)
    peak_CZ = peak_CZ.scatter_reduce(0, row_IZ, logit_IZ.detach(), "amax")
    mass_IZ = (logit_IZ - peak_CZ[category_I]).exp()
    total_CZ = torch.zeros_like(peak_CZ).index_add(0, category_I, mass_IZ)
    share_IZ = mass_IZ / total_CZ[category_I]
    held_C = torch.bincount(category_I, minlength=num_categories) > 0
    order_I = category_I.argsort(stable=True)
    return ItemTable(
        category=category_I,
        share=share_IZ,
        num_categories=num_categories,
        open=torch.where(held_C, 0.0, -torch.inf).to(logit_IZ.dtype),
        order=order_I,
        edge=_edges(share_IZ.detach(), category_I, order_I, num_categories)
        if drawn
        else share_IZ.new_zeros(0, dtype=torch.float64),
    )


def _edges(share_IZ: Tensor, category_I: Tensor, order_I: Tensor, num_categories: int) -> Tensor:
    """Upper edges of all items of all classes on one line, [Z * I] float64.

    Category c of class z has the interval from z · C + c to the next whole number.
    """
    sorted_I = category_I[order_I]
    sum_IZ = share_IZ[order_I].double().cumsum(0)
    end_C = torch.bincount(category_I, minlength=num_categories).cumsum(0)
    upto_CZ = F.pad(sum_IZ, (0, 0, 1, 0))[F.pad(end_C, (1, 0))]
    # divided by their own total, so that the last item of positive share ends at 1 exactly
    within_IZ = (sum_IZ - upto_CZ[sorted_I]) / upto_CZ.diff(dim=0)[sorted_I]
    base_Z1 = torch.arange(share_IZ.shape[1], device=order_I.device).unsqueeze(-1) * num_categories
    return (base_Z1 + sorted_I + within_IZ.T).flatten()


def organic(category_NC: Tensor, latent_NZ: Tensor, table: ItemTable) -> Organic:
    """The law of these logits of categories and of latent classes."""
    return Organic((category_NC + table.open).log_softmax(-1), latent_NZ.softmax(-1), table)


def log_prob(found: Organic, item_NJ: Tensor) -> Tensor:
    """Log-probability of finding each of these items, [N, J].

    Where ``found`` is of fewer lanes than the items, each of its lanes stands for as many rows of
    equal items, one after another.
    """
    table, alike = found.table, len(item_NJ) // max(1, len(found.latent))
    if alike > 1:
        return log_prob(found, item_NJ[::alike]).repeat_interleave(alike, 0)
    category_NJ = table.category[item_NJ]
    share_NJZ = rows(table.share, item_NJ)
    within_NJ = (share_NJZ * found.latent.unsqueeze(1)).sum(-1)
    # a share may be 0 to rounding where the item was found all the same
    tiny = torch.finfo(within_NJ.dtype).tiny
    searched_NJ = found.category.gather(-1, category_NJ) + within_NJ.clamp(min=tiny).log()
    if found.pointers is None:
        return searched_NJ
    searched_NJ = searched_NJ + found.pointers.rest.log().unsqueeze(-1)
    return torch.logaddexp(searched_NJ, _pointed(found.pointers, item_NJ).clamp(min=tiny).log())


def _pointed(pointers: Pointers, item_NJ: Tensor) -> Tensor:
    """Probability that each of these items is found without a search, [N, J]."""
    same_NJL = item_NJ.unsqueeze(-1) == pointers.item.unsqueeze(1)
    return (same_NJL * pointers.share.unsqueeze(1)).sum(-1)


def by_search(found: Organic, item_NJ: Tensor) -> Tensor:
    """P(item | a search) ÷ P(item), [N, J]: 1 where nothing is found without one.

    Times the search's share of finds it is the chance that an item which was found was searched.
    """
    searched = dataclasses.replace(found, pointers=None)
    return (log_prob(searched, item_NJ) - log_prob(found, item_NJ)).exp()


def probabilities(found: Organic) -> Tensor:
    """Probability of finding each item of the catalogue, [N, I]."""
    found_NI = found.category.exp()[:, found.table.category] * (found.latent @ found.table.share.T)
    pointers = found.pointers
    if pointers is None:
        return found_NI
    found_NI = pointers.rest.unsqueeze(-1) * found_NI
    return found_NI.scatter_add(-1, pointers.item.clamp(min=0), pointers.share)


def mean_of_classes(table: ItemTable, value_IX: Tensor) -> Tensor:
    """Mean of the items' values in each category, as each class sees it, [C, Z, X]."""
    parts = [
        value_IX.new_zeros(table.num_categories, value_IX.shape[1]).index_add(
            0, table.category, share_I.unsqueeze(-1) * value_IX
        )
        for share_I in table.share.unbind(-1)
    ]
    return torch.stack(parts, 1)


def mean(found: Organic, mean_CZX: Tensor) -> Tensor:
    """Mean over what a search finds, [N, X], of values whose `mean_of_classes` is given."""
    of_class_NZX = (found.category.exp() @ mean_CZX.flatten(1)).unflatten(-1, mean_CZX.shape[1:])
    mean_NX: Tensor = (found.latent.unsqueeze(-1) * of_class_NZX).sum(1)
    return mean_NX


def draw(found: Organic, u_category_N: Tensor, u_latent_N: Tensor, u_item_N: Tensor) -> Tensor:
    """An item found alone, [N] int64: category, latent class and item by inverting their sums.

    A draw that falls to a single item takes of the category's uniform what the search would have
    left over, so that another share of such items moves few draws.
    """
    table, pointers = found.table, found.pointers
    if pointers is not None:
        place_N = pick(torch.cat([pointers.rest.unsqueeze(-1), pointers.share], -1), u_category_N)
        searched = dataclasses.replace(found, pointers=None)
        u_category_N = (u_category_N / pointers.rest).clamp(max=_BELOW_1)
        alone_N = draw(searched, u_category_N, u_latent_N, u_item_N)
        single_N = pointers.item.gather(-1, (place_N - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return torch.where(place_N > 0, single_N, alone_N)
    num_items = len(table.order)
    category_N = pick(found.category.exp(), u_category_N)
    latent_N = pick(found.latent, u_latent_N)
    place_N = latent_N * table.num_categories + category_N + u_item_N.double()
    row_N = torch.searchsorted(table.edge, place_N, right=True)
    return table.order[row_N - latent_N * num_items]
