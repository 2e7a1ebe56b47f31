"""Exploration that all learners share: some slots filled at random, fewer and fewer of them."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym import rng
from recgym.rng import Purpose
from recgym.types import Observation


def falling(epsilon: tuple[float, float], steps: int, epsilon_steps: int) -> float:
    """Share of slots filled at random after so many steps of all lanes: linear, then constant."""
    first, last = epsilon
    return last + (first - last) * max(0.0, 1.0 - steps / epsilon_steps)


def lane_key(observation: Observation, purpose: Purpose = Purpose.EXPLORE) -> Tensor:
    """Key of a policy's noise, [N]: a function of (lane seed, session, page)."""
    who, page_N = observation.arrival, observation.visit.page_number
    return rng.key(who.seed, who.session, page_N, purpose)


def some_at_random(observation: Observation, item_NK: Tensor, share: float) -> Tensor:
    """The page with this share of its slots random, a function of (lane seed, session, page)."""
    coin_NK, pick_NK = rng.uniform(
        lane_key(observation), 2 * item_NK.shape[1], torch.float64
    ).chunk(2, -1)
    random_NK = (pick_NK * observation.catalog.num_items).long()
    return torch.where(coin_NK < share, random_NK, item_NK)
