"""Products with rows of a table, and tanh, as a CPU computes them fastest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym.lanes import rows

CACHED = 1 << 19  # products of one block of `match`: two megabytes


def tanh(x: Tensor) -> Tensor:
    """By way of the sigmoid, which a CPU computes several times faster than torch's tanh."""
    return 2.0 * (2.0 * x).sigmoid() - 1.0


def match(item_NJ: Tensor, vector_ID: Tensor, query_NQD: Tensor) -> Tensor:
    """Inner products of the items' vectors with each of the lane's queries, [N, Q, J].

    On a CPU lanes are taken in blocks whose vectors stay in its cache; but not where there is a
    gradient, whose own table would be as large as all items for each block.
    """
    size = max(1, item_NJ.shape[1] * query_NQD.shape[1] * query_NQD.shape[2])
    whole = item_NJ.is_cuda or vector_ID.requires_grad
    block = max(1, len(item_NJ) if whole else CACHED // size)
    parts = [
        (rows(vector_ID, item).unsqueeze(1) * query.unsqueeze(2)).sum(-1)
        for item, query in zip(item_NJ.split(block), query_NQD.split(block), strict=True)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def times(matrix_NJV: Tensor, vector_NV: Tensor) -> Tensor:
    """Product of each lane's matrix and its vector, [N, J]."""
    # not by `@`, whose gradient is a matrix product of its own for each lane
    return (matrix_NJV * vector_NV.unsqueeze(-2)).sum(-1)


def match_all(item_NJ: Tensor, vector_ID: Tensor, query_QD: Tensor) -> Tensor:
    """Inner products of the items' vectors with queries that are the same for all, [N, J, Q]."""
    return F.linear(rows(vector_ID, item_NJ), query_QD)


def weighted_sum(item_NK: Tensor, weight_NK: Tensor, vector_ID: Tensor) -> Tensor:
    """Sum of the items' vectors, each times its weight, [N, D]."""
    if item_NK.shape[1] == 0:
        return vector_ID.new_zeros(len(item_NK), vector_ID.shape[1])
    return F.embedding_bag(item_NK, vector_ID, per_sample_weights=weight_NK, mode="sum")
