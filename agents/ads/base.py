"""What every agent of ad placement offers, and what they read of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from agents.exploring import lane_key
from recgym import rng
from recgym.ads.records import AdObservation, AdTransition, Options
from recgym.ads.rollout import AdPolicy

NUM_TOLD = 3  # features that `described` adds to those of an option
LEAST = 1e-9  # currency units: beside a payment that may be 0


class AdAgent(AdPolicy, Protocol):
    """An ad policy that learns; compare `agents.base.Agent`."""

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """Index of the option chosen, [N] int64; 0 is a page without ads."""
        ...

    def learn(
        self, observation: AdObservation, action_N: Tensor, transition: AdTransition
    ) -> dict[str, Tensor]:
        """Take in one step of all lanes and improve; metrics as scalar tensors."""
        ...

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """All that acting needs; with ``learning`` all of the agent."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act as the agent whose state this is; learn on as it, where all of it was saved."""
        ...


def places_ads(settings: Mapping[str, Any]) -> bool:
    """Whether the agent of a ``conf/agent`` entry places ads, and so recommends nothing."""
    return str(settings["_target_"]).startswith("agents.ads.")


def options_of(observation: AdObservation) -> Options:
    """The options of each lane.

    Raises:
        TypeError: where the decision is not finite; an ad task always has a finite form.
    """
    if observation.options is None:
        raise TypeError("this agent chooses among options, and the task gives none")
    return observation.options


def best(score_NJ: Tensor, allowed_NJ: Tensor) -> Tensor:
    """The allowed option of highest score, [N]; the first of equal ones."""
    return score_NJ.masked_fill(~allowed_NJ, -torch.inf).argmax(-1)


def some_options_at_random(
    observation: AdObservation, chosen_N: Tensor, share: float | Tensor
) -> Tensor:
    """In this share of lanes a page without ads, or as often any allowed option, at random.

    By (lane seed, session, page) alone. Pages without ads are what all options are valued against,
    and would be rare among so many.
    """
    allowed_NJ = options_of(observation).allowed
    coin_N, pick_N, none_N = rng.uniform(lane_key(observation.base), 3, torch.float64).unbind(-1)
    random_N = rng.pick(allowed_NJ.double(), pick_N).masked_fill(none_N < 0.5, 0)
    return torch.where(coin_N < share, random_N, chosen_N)


def drawn_option(observation: AdObservation, logit_NJ: Tensor) -> Tensor:
    """An option drawn by the softmax of its logits: by (lane seed, session, page) alone, [N]."""
    u_N = rng.uniform(lane_key(observation.base), dtype=torch.float64)
    return rng.pick(logit_NJ.double().softmax(-1), u_N)


def described(options: Options, unit: Tensor) -> Tensor:
    """Each option by its ads, what they pay in units and beside the best option, and its features.

    [N, J, NUM_TOLD + X].
    """
    told_NJ3 = torch.stack(
        [
            options.num_ads.to(options.payment.dtype),
            options.payment / unit,
            relative_payment(options),
        ],
        -1,
    )
    return torch.cat([told_NJ3, options.feature], -1)


def payment_per_ad(options: Options) -> Tensor:
    """What each option's ads are expected to pay apiece, [N, J]; 0 where there is none."""
    return options.payment / options.num_ads.clamp(min=1)


def best_payment_per_ad(options: Options) -> Tensor:
    """The same of the best allowed option, [N]."""
    return payment_per_ad(options).masked_fill(~options.allowed, 0.0).amax(-1)


def relative_payment(options: Options) -> Tensor:
    """What each option is expected to pay, as a share of the best allowed one, [N, J]."""
    return options.payment / best_payment(options).unsqueeze(-1)


def best_payment(options: Options) -> Tensor:
    """What the best paid allowed option is expected to pay, above 0, [N]."""
    return options.payment.masked_fill(~options.allowed, 0.0).amax(-1).clamp(min=LEAST)


def at(value_NJ: Tensor, index_N: Tensor) -> Tensor:
    """The entry of each lane's option, [N, ...]."""
    lane_N = torch.arange(len(index_N), device=index_N.device)
    return value_NJ[lane_N, index_N]
