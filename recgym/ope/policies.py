"""Policies whose pages have probabilities: what an evaluated and a logging policy must offer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.types import Observation, Policy


class Stochastic(Protocol):
    """Anything that says how likely it is to show a page."""

    def slate_log_probs(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """Log P(this item in this slot | the slots above, what the site observed), [N, K].

        -1 is an empty slot, whose probability counts too; -inf for what is never shown.
        """
        ...


class Deterministic:
    """A policy that draws nothing: its own page has probability 1, every other one 0.

    Args:
        policy: whose pages are a function of what the site observes.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def slate_log_probs(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """0 where the slot holds what the policy puts there, else -inf, [N, K]."""
        same_NK = self.policy.act(observation) == item_NK
        return torch.zeros(same_NK.shape, dtype=torch.float64, device=same_NK.device).masked_fill(
            ~same_NK, -torch.inf
        )


class Mixture:
    """Each page comes from one of several policies, drawn anew page by page.

    Args:
        policies: parts of it.
        share: of each; they add up to 1.
    """

    def __init__(self, policies: Sequence[Stochastic], share: Sequence[float]) -> None:
        if len(policies) != len(share) or min(share) < 0 or abs(sum(share) - 1.0) > 1e-6:
            raise UserError(
                f"share={list(share)} of {len(policies)} policies: expected one share each, none "
                "below 0, that add up to 1."
            )
        kept = [(policy, part) for policy, part in zip(policies, share, strict=True) if part > 0]
        self.policies = [policy for policy, _ in kept]
        self.log_share = [math.log(part) for _, part in kept]

    def slate_log_probs(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """Of the mixture: the parts are weighed by how well they explain the slots above."""
        above_NK = torch.stack(
            [
                policy.slate_log_probs(observation, item_NK).double().cumsum(-1) + log_share
                for policy, log_share in zip(self.policies, self.log_share, strict=True)
            ]
        ).logsumexp(0)
        earlier_NK = torch.cat([torch.zeros_like(above_NK[:, :1]), above_NK[:, :-1]], -1)
        # once a prefix is impossible every longer one is too: -inf - -inf would be NaN
        return torch.where(above_NK.isneginf(), above_NK, above_NK - earlier_NK)
