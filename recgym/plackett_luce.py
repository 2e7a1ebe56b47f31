"""Rankings drawn item by item without replacement: likelihood and noise.

Plackett 1975, "The analysis of permutations"; Luce 1959: with logits l, P(i_1 .. i_K) = product
over k of exp l(i_k) / sum over items not yet drawn of exp l. It is drawn by the Gumbel top-k trick
(Kool et al. 2019, "Stochastic beams and where to find them", section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

NONE = -1e30  # log of no mass: an infinite one would make the gradient of an empty sum NaN


def slot_log_probs(logit_NM: Tensor, place_NK: Tensor) -> Tensor:
    """Log-probability of drawing each of these items after those before it, [N, K].

    Args:
        logit_NM: of all items that could be drawn, -inf for one that may not.
        place_NK: distinct columns of it, -1 for an empty slot, which is no draw and counts 0.
    """
    filled_NK, column_NK = place_NK >= 0, place_NK.clamp(min=0)
    logit_NM = logit_NM.clamp(min=NONE)
    drawn_NM = torch.zeros_like(logit_NM, dtype=torch.int32)  # a GPU adds no smaller ones
    drawn_NM = drawn_NM.scatter_add(-1, column_NK, filled_NK.to(torch.int32)) > 0
    rest_N1 = logit_NM.masked_fill(drawn_NM, NONE).logsumexp(-1, keepdim=True)
    chosen_NK = logit_NM.gather(-1, column_NK).masked_fill(~filled_NK, NONE)
    # what could be drawn for a slot: the items never drawn, this slot's and all later slots' own
    left_NK = torch.cat([rest_N1, chosen_NK.flip(-1)], -1).logcumsumexp(-1)[:, 1:].flip(-1)
    return (chosen_NK - left_NK).masked_fill(~filled_NK, 0.0)


def log_prob(logit_NM: Tensor, place_NK: Tensor) -> Tensor:
    """Log-probability of drawing these items in this order, [N]; see `slot_log_probs`."""
    return slot_log_probs(logit_NM, place_NK).sum(-1)


def gumbel(u_NM: Tensor) -> Tensor:
    """Gumbel noise of uniform draws; the order of logits with it is a drawn ranking."""
    return -(-u_NM.clamp(1e-12, 1 - 1e-12).log()).log()
