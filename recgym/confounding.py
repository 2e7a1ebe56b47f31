"""A logging policy that saw more than it wrote down: the log that it leaves is confounded.

What it showed agrees with a taste that no column holds, so that "shown and clicked" overstates
what showing does (Schnabel et al. 2016, "Recommendations as treatments"). Its propensities are
those that it used, and are logged: who weighs by them is unbiased, who does not is not.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recgym.logging_policy import LoggingPolicy
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Policy
from recgym.worlds.base import SeeingShop, TrueShop


class SeeingPolicy(LoggingPolicy):
    """The logging policy with part of the shoppers' hidden taste in its affinity.

    It can only be played in its own true shop, over observations of `logging_spec`.

    Args:
        world: whose state stands in ``observation.encoder``.
        settings: those of `LoggingPolicy`.
    """

    def __init__(self, world: SeeingShop, popularity_I: Tensor, **settings: Any) -> None:
        super().__init__(world.catalog, popularity_I, **settings)
        self.world = world

    def scores(self, observation: Observation) -> Tensor:
        """Logits of the affinity part, [N, I]: hidden taste beside what the site knows."""
        liking_NI = self.world.liking(observation.encoder)
        return super().scores(observation) + self.world.logger_sees * liking_NI


def is_confounded(policy: Policy | None) -> bool:
    """Whether a policy looks at what only the true shop knows."""
    return isinstance(policy, SeeingPolicy)


def logging_spec(
    world: TrueShop,
    policy: Policy,
    num_slots: int,
    *,
    num_sessions: int = 1,
) -> ObservationSpec:
    """What a true shop's logging policy sees of it: the site's records, or the hidden state."""
    simulator = Simulator(
        world,
        encoder=world if is_confounded(policy) else None,
        num_slots=num_slots,
        num_sessions=num_sessions,
        dtype=world.catalog.price.dtype,
    )
    return ObservationSpec(simulator, "history")
