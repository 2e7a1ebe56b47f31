"""Rankings that a policy draws, and a network of logits; their law is `recgym.plackett_luce`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.exploring import lane_key
from agents.outlook import NUM_SIGNS, Retrieved
from recgym import rng
from recgym.plackett_luce import gumbel
from recgym.types import Observation
from recgym.users.products import match


def perturbed(observation: Observation, logit_NM: Tensor) -> Tensor:
    """Logits whose order is a draw of a ranking, [N, M]; of (lane seed, session, page) alone."""
    u_NM = rng.uniform(lane_key(observation), logit_NM.shape[1], torch.float64)
    return logit_NM + gumbel(u_NM).to(logit_NM.dtype)


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
