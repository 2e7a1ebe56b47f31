"""Rankings drawn item by item without replacement: likelihood, draw, and a network of logits.

Plackett 1975, "The analysis of permutations"; Luce 1959: with logits l, P(i_1 .. i_K) = product
over k of exp l(i_k) / sum over items not yet drawn of exp l. It is drawn by the Gumbel top-k trick
(Kool et al. 2019, "Stochastic beams and where to find them", section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.exploring import lane_key
from agents.outlook import NUM_SIGNS, Retrieved
from recgym import rng
from recgym.types import Observation
from recgym.users.products import match

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


def perturbed(observation: Observation, logit_NM: Tensor) -> Tensor:
    """Logits whose order is a draw of a ranking, [N, M]; of (lane seed, session, page) alone."""
    u_NM = rng.uniform(lane_key(observation), logit_NM.shape[1], torch.float64)
    return logit_NM + gumbel(u_NM).to(logit_NM.dtype)


def gumbel(u_NM: Tensor) -> Tensor:
    """Gumbel noise of uniform draws; the order of logits with it is a drawn ranking."""
    return -(-u_NM.clamp(1e-12, 1 - 1e-12).log()).log()


def body(num_features: int, hidden: int) -> nn.Sequential:
    """What a policy or a state's value builds on."""
    return nn.Sequential(
        nn.Linear(num_features, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()
    )


class Ranker(nn.Module):
    """Logits of retrieved items, which begin at the retrieval's own ranking.

    Args:
        actor: `body` of the policy.
        hidden: its width.
        embedding: D, of an item.
        sharpness: weight of the retrieval's log-score in the logits at first.
    """

    def __init__(self, actor: nn.Sequential, hidden: int, embedding: int, sharpness: float) -> None:
        super().__init__()
        self.actor = actor
        self.taste = nn.Linear(hidden, embedding)
        self.signs = nn.Linear(hidden, NUM_SIGNS)
        for layer in (self.taste, self.signs):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.signs.bias[0] = sharpness

    def logits(
        self, feature_NO: Tensor, vector_ID: Tensor, item_NM: Tensor, sign_NMS: Tensor
    ) -> Tensor:
        """Of M retrieved items, [N, M]; -inf where fewer may be shown."""
        body_NH = self.actor(feature_NO)
        like_NM = match(item_NM.clamp(min=0), vector_ID, self.taste(body_NH).unsqueeze(1)).squeeze(
            1
        )
        logit_NM: Tensor = like_NM + (sign_NMS * self.signs(body_NH).unsqueeze(1)).sum(-1)
        return logit_NM.masked_fill(item_NM < 0, -torch.inf)


def page_of(
    observation: Observation, found: Retrieved, logit_NM: Tensor, num_slots: int, explore: bool
) -> Tensor:
    """Items [N, K]: the K of highest logit, or with ``explore`` a drawn ranking."""
    order_NM = perturbed(observation, logit_NM) if explore else logit_NM
    return found.item.gather(-1, order_NM.topk(num_slots, -1).indices)
