"""A sum tree in one tensor: draws in proportion to weights, and changes them, all rows at once.

Paper: Schaul et al. 2016, "Prioritized experience replay", appendix B.2.1. Node 1 is the root,
nodes 2i and 2i + 1 are below node i, the leaves come last. A Python loop runs over levels alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


class SumTree:
    """Non-negative weights of ``num_leaves`` things and the sums above them, in float64.

    Args:
        num_leaves: of which a draw picks.
        device: where they lie.
    """

    def __init__(self, num_leaves: int, device: torch.device) -> None:
        self.num_leaves = num_leaves
        self.depth = max(1, (num_leaves - 1).bit_length())
        self.first = 1 << self.depth  # node of leaf 0
        self.node = torch.zeros(2 * self.first, dtype=torch.float64, device=device)

    @property
    def total(self) -> Tensor:
        """Of all weights, []."""
        return self.node[1]

    def weights(self, place_N: Tensor) -> Tensor:
        """Of these leaves, [N]."""
        return self.node[self.first + place_N]

    def update(self, place_N: Tensor, weight_N: Tensor) -> None:
        """Give leaves their weights; one that is named twice takes the highest."""
        at_N = self.first + place_N
        self.node.scatter_reduce_(0, at_N, weight_N.double(), "amax", include_self=False)
        for _ in range(self.depth):
            # sums are taken anew: added differences would drift, and count a leaf named twice twice
            at_N = at_N // 2
            self.node[at_N] = self.node[2 * at_N] + self.node[2 * at_N + 1]

    def find(self, u_N: Tensor) -> Tensor:
        """Leaves at these shares of the total, in [0, 1), [N]: one for each, by its weight."""
        left_N = u_N.double() * self.total
        at_N = torch.ones_like(left_N, dtype=torch.int64)
        for _ in range(self.depth):
            below_N, beside_N = self.node[2 * at_N], self.node[2 * at_N + 1]
            # a sum that was rounded may lead past the last leaf: never turn to where nothing lies
            right_N = (left_N >= below_N) & (beside_N > 0.0)
            left_N = torch.where(right_N, left_N - below_N, left_N)
            at_N = 2 * at_N + right_N.long()
        return at_N - self.first
