"""What policies are worth, and the ceilings that they are measured by."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym import metrics
from recgym.logging_policy import EmptyPages
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Policy, SessionStats
from recgym.users.base import Shoppers

SEED_BASE = 1 << 53  # of the truth's shoppers, apart from those of logs, training and evaluation


def shoppers(num_sessions: int, seed: int) -> Tensor:
    """Lane seeds of the truth's own shoppers, [B] int64."""
    return SEED_BASE + (seed << 32) + torch.arange(num_sessions)


def oracle_spec(world: Shoppers, num_slots: int, num_sessions: int = 1) -> ObservationSpec:
    """Observations in which ``encoder`` is the shop's own hidden state."""
    simulator = Simulator(
        world,
        encoder=world,
        num_slots=num_slots,
        num_sessions=num_sessions,
        dtype=world.catalog.price.dtype,
    )
    return ObservationSpec(simulator, "history")


def observable_spec(
    world: Shoppers, num_slots: int, encoder: Shoppers | None = None
) -> ObservationSpec:
    """Observations of a shop in which only its site's records stand.

    Args:
        world: the shop.
        num_slots: K, slots of a page.
        encoder: a fitted user model that reads them; without one, the last views as features.

    Raises:
        ValueError: if the encoder is the shop itself, whose state is hidden.
    """
    if encoder is world:
        raise ValueError("the encoder is the shop itself: expected a fitted user model or None")
    simulator = Simulator(world, encoder=encoder, num_slots=num_slots)
    return ObservationSpec(simulator, "history" if encoder is None else "encoder")


def oracle_observable(
    world: Shoppers, agent: Policy, *, num_slots: int, encoder: Shoppers | None = None
) -> tuple[ObservationSpec, Policy]:
    """The ceiling of what a site can know: the best agent trained in the true shop itself.

    The recipe, which an experiment follows: make each agent of the comparison over
    ``observable_spec(world, num_slots, encoder)``, train it with `agents.loop.train` on
    ``recgym.envs.core.ShopCore`` over that spec with ten times the steps of a run in the learned
    shop, and give the one of greatest value (on other seeds than those reported) to this function.
    With the encoder of a fit it sees what the policies of that fit see.
    """
    return observable_spec(world, num_slots, encoder), agent


def _stats(spec: ObservationSpec, policy: Policy, num_sessions: int, seed: int) -> SessionStats:
    seed_B = shoppers(num_sessions, seed)
    return rollout(spec, policy, seed_B, torch.zeros_like(seed_B))


def value_of(
    spec: ObservationSpec, policy: Policy, *, num_sessions: int, seed: int
) -> metrics.Estimate:
    """Revenue a session, currency units, with its 95 % interval: E[revenue | state, page] summed.

    The mean is that of what is paid; the noise of paying or not is left out.
    """
    stats = _stats(spec, policy, num_sessions, seed)
    return metrics.estimate(stats, "revenue_per_session", seed)


def gain_of(
    spec: ObservationSpec, policy: Policy, *, num_sessions: int, seed: int
) -> metrics.Estimate:
    """The same above empty pages, on the same shoppers under the same noise."""
    nothing = _stats(spec, EmptyPages(spec.simulator.num_slots), num_sessions, seed)
    return metrics.incremental_revenue(_stats(spec, policy, num_sessions, seed), nothing, seed)
