"""PPO for ads: a masked softmax over the options of a page, Lagrangian where the load has a cap.

Papers: Schulman et al. 2017, see `agents.on_policy`, which also names the logged scalars; Huang and
Ontañón 2022, "A closer look at invalid action masking in policy gradient algorithms": logits of
options that are not allowed are -inf, in the draw and in the likelihood; Stooke, Achiam and Abbeel
2020, see `agents.ads.dual`: with ``constrained`` the reward is less the price of ads beyond
the cap (``agent=ad_lagrangian_ppo``).

Deviations: logits begin at ``sharpness`` times what an option is expected to pay above the price of
its ads, beside the best payment, so that the first policy is a soft greedy, and a price that moves
is heeded at once. It is moved at each step of all lanes by the likeliest options, and of sessions
alone that are played without exploring, as the policy will be used: who explores tires shoppers and
uses up campaigns, and then fewer ads are worth their price. Their pages teach the value, and the
policy nothing. After each round of updates the price makes up for the load that these have changed
on the pages of the horizon, or the last round would leave a load that no step has seen. Rewards
count in units of `agents.ads.scaling`; a page limit is bootstrapped (Pardo et al. 2018, "Time
limits in reinforcement learning", equation 6).

Logged besides: `load` (ads ÷ impressions of the likeliest options; with a cap, in the sessions
without exploring), `price` (currency units).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from agents.ads.base import (
    at,
    best,
    best_payment,
    best_payment_per_ad,
    drawn_option,
    options_of,
    relative_payment,
)
from agents.ads.dual import Multiplier
from agents.ads.network import OptionNetwork
from agents.on_policy import Horizon, OnPolicy
from agents.ranking import body
from recgym import rng
from recgym.ads.records import AdObservation, AdTransition, Options
from recgym.rng import Purpose
from recgym.settings import Count, Positive, Share, Within

MEETINGS = 20  # steps of the price after each round of updates
PACE = 0.1  # gain of these


class OptionPolicy(nn.Module):
    """Logits of options, and the value of a state by a body of its own.

    Args:
        num_features: O, of an observation.
        num_option: X, of an option.
        hidden: width of the layers.
    """

    def __init__(self, num_features: int, num_option: int, hidden: int) -> None:
        super().__init__()
        self.actor = OptionNetwork(num_features, num_option, hidden, 1)
        self.critic, self.value = body(num_features, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def logits(
        self, state_NO: Tensor, option_NJX: Tensor, first_NJ: Tensor, allowed_NJ: Tensor
    ) -> Tensor:
        """Of each option, [N, J]; ``first_NJ`` is where they begin."""
        _, gain_NJ1 = self.actor(state_NO, option_NJX)
        logit_NJ: Tensor = first_NJ + gain_NJ1.squeeze(-1)
        return logit_NJ.masked_fill(~allowed_NJ, -torch.inf)

    def values(self, state_NO: Tensor) -> Tensor:
        """V(s) in units, [N]."""
        value_N: Tensor = self.value(self.critic(state_NO)).squeeze(-1)
        return value_N


class AdPPO(OnPolicy):
    """Clipped policy gradients over options; see the module's docstring.

    Args:
        num_features, num_option: O, of the observation, and X, of an option.
        seed: of the network, of minibatches and, through the lanes' seeds, of exploration.
        device: of all tensors.
        load_cap: of the task; ``constrained`` says whether it is kept.
        gamma: discount a page; ``smoothing``: lambda of the advantages.
        clip: epsilon of the ratio's range; null for none.
        horizon: steps of all lanes between two rounds of updates.
        epochs, minibatches: passes over a horizon's pages, and into how many parts each is cut.
        entropy: weight of the entropy; ``value_weight`` that of the value loss.
        learning_rate: Adam's, which falls to 0 over ``anneal_steps`` of all lanes (null: never).
        sharpness: of the first policy around what options are expected to pay.
        hidden: width of the network.
        max_norm: largest norm of a gradient.
        dual_rate, dual_proportional, dual_derivative: gains of the price of an ad beyond the cap.
        plain_share: of sessions that are played without exploring where the load has a cap.
    """

    network: OptionPolicy

    def __init__(
        self,
        *,
        num_features: int,
        num_option: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        load_cap: Share | None = None,
        constrained: bool = False,
        gamma: Share = 0.95,
        smoothing: Share = 0.9,
        clip: Positive | None = 0.2,
        horizon: Count = 8,
        epochs: Count = 4,
        minibatches: Count = 4,
        entropy: Annotated[float, Within(0.0)] = 0.003,
        value_weight: Positive = 0.5,
        learning_rate: Positive = 1e-3,
        anneal_steps: Count | None = None,
        sharpness: Annotated[float, Within(0.0)] = 3.0,
        hidden: Count = 128,
        max_norm: Positive = 0.5,
        dual_rate: Positive = 0.05,
        dual_proportional: Annotated[float, Within(0.0)] = 0.2,
        dual_derivative: Annotated[float, Within(0.0)] = 0.0,
        plain_share: Share = 0.25,
    ) -> None:
        device = torch.device(device)
        settings = Horizon(
            gamma=gamma, smoothing=smoothing, clip=clip, horizon=horizon, epochs=epochs,
            minibatches=minibatches, entropy=entropy, value_weight=value_weight,
            learning_rate=learning_rate, anneal_steps=anneal_steps, max_norm=max_norm,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = OptionPolicy(num_features, num_option, hidden)
        self.sharpness = sharpness
        self.plain = plain_share if constrained and load_cap is not None else 0.0
        self.multiplier = Multiplier(
            load_cap if constrained else None, dual_rate, device,
            proportional=dual_proportional, derivative=dual_derivative, settling=None,
        )  # fmt: skip
        super().__init__(network.to(device), settings, seed, device)

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The likeliest option, [N]; with ``explore`` drawn as the policy is learned."""
        logit_NJ = self.scores(observation)
        likeliest_N = best(logit_NJ, options_of(observation).allowed)
        if not explore:
            return likeliest_N
        drawn_N = drawn_option(observation, logit_NJ)
        return torch.where(self._plain(observation), likeliest_N, drawn_N)

    @torch.no_grad()
    def scores(self, observation: AdObservation) -> Tensor:
        """Logit of each option, -inf where it may not be shown, [N, J]."""
        return self._logits(observation.feature, options_of(observation))

    def _plain(self, observation: AdObservation) -> Tensor:
        """Lanes whose session is played without exploring, [N]: by (lane seed, session) alone."""
        who = observation.base.arrival
        key_N = rng.key(who.seed, who.session, torch.zeros_like(who.seed), Purpose.POLICY)
        return rng.uniform(key_N, dtype=torch.float64) < self.plain

    def _logits(self, feature_NO: Tensor, options: Options) -> Tensor:
        scale = self.network.actor.scale
        return self.network.logits(
            scale.state(feature_NO),
            scale.options(options),
            self._first(relative_payment(options), _dues(options)),
            options.allowed,
        )

    def _first(self, relative_NJ: Tensor, dues_NJ: Tensor) -> Tensor:
        """Where logits begin, [N, J]: at what an option pays above the price of its ads."""
        return self.sharpness * (relative_NJ - self.multiplier.price * dues_NJ)

    # ---- learning -------------------------------------------------------------------------------

    @torch.no_grad()
    def learn(
        self, observation: AdObservation, action_N: Tensor, transition: AdTransition
    ) -> dict[str, Tensor]:
        """Store one step of all lanes; after a horizon of them, improve and forget them."""
        options, outcome = options_of(observation), transition.outcome
        scale = self.network.actor.scale
        if self.steps == 0:  # gains are 0 until the first update: no logit changes by it
            scale.take(observation.feature, options, transition.reward)
        assert outcome.page.sponsored is not None
        ads_N = outcome.page.sponsored.sum(-1).to(transition.reward.dtype)
        excess_N = self.multiplier.excess(ads_N, outcome.impressions)
        paid_N = transition.reward - self.multiplier.price * excess_N
        state_NO = scale.state(observation.feature)
        logit_NJ, plain_N = self._logits(observation.feature, options), self._plain(observation)
        row = {
            "feature": state_NO,
            "option": scale.options(options),
            "relative": relative_payment(options),
            "dues": _dues(options),
            "first": self._first(relative_payment(options), _dues(options)),
            "allowed": options.allowed,
            "num_ads": options.num_ads,
            "shown": outcome.impressions,
            "plain": plain_N,
            "unit": best_payment_per_ad(options),
            "action": action_N,
            "old": log_prob(logit_NJ, action_N),
            "value": self.network.values(state_NO),
            "next_value": self.network.values(scale.state(transition.final_observation.feature)),
            "reward": paid_N / scale.unit,
            "terminated": transition.terminated,
            "truncated": transition.truncated,
        }
        judged_N = plain_N if self.plain else torch.ones_like(plain_N)
        likeliest_N = at(options.num_ads, best(logit_NJ, options.allowed)).to(ads_N.dtype)
        likeliest_N = likeliest_N * judged_N
        shown_N = outcome.impressions.to(ads_N.dtype) * judged_N
        self.multiplier.step(likeliest_N, shown_N, best_payment_per_ad(options).mean())
        with torch.enable_grad():
            learned = self._take_in(row)
        load = likeliest_N.sum() / shown_N.sum().clamp(min=1.0)
        return learned | {"load": load, "price": self.multiplier.price}

    def _judged(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the options, and the log-probability of the one that was taken."""
        logit_RJ = self.network.logits(
            rows["feature"], rows["option"], rows["first"], rows["allowed"]
        )
        return logit_RJ, log_prob(logit_RJ, rows["action"])

    def _pages(self) -> dict[str, Tensor]:
        """Rows of a horizon; those played without exploring teach the policy nothing."""
        pages = super()._pages()
        pages["advantage"] = pages["advantage"].masked_fill(pages["plain"], 0.0)
        return pages

    def _improve(self, pages: dict[str, Tensor]) -> dict[str, Tensor]:
        """Several passes over the pages of one horizon; the price makes up for their load."""
        if self.multiplier.load_cap is None:
            return super()._improve(pages)
        before = self._would_show(pages, self._gains(pages))
        found, gain_RJ = super()._improve(pages), self._gains(pages)
        most = (self.multiplier.load_cap * pages["shown"].sum()).clamp(min=1.0)
        for _ in range(MEETINGS):
            more = (self._would_show(pages, gain_RJ) - before) / most
            self.multiplier.shift(PACE * more, pages["unit"].mean())
        return found

    @torch.no_grad()
    def _gains(self, pages: dict[str, Tensor]) -> Tensor:
        """Logits but for where they begin, [R, J]; -inf where an option is not allowed."""
        none_RJ = torch.zeros_like(pages["first"])
        return self.network.logits(pages["feature"], pages["option"], none_RJ, pages["allowed"])

    def _would_show(self, pages: dict[str, Tensor], gain_RJ: Tensor) -> Tensor:
        """Ads of the likeliest options on these pages, at the price in force."""
        logit_RJ = gain_RJ + self._first(pages["relative"], pages["dues"])
        num_ads_R = at(pages["num_ads"], best(logit_RJ, pages["allowed"]))
        return num_ads_R.sum().to(logit_RJ.dtype)

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """That of a learner from horizons, and the price."""
        return super().state_dict(learning=learning) | {"multiplier": self.multiplier.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        super().load_state_dict(state)
        self.multiplier.load_state_dict(state["multiplier"])


def _dues(options: Options) -> Tensor:
    """Ads of each option for each currency unit of the best payment, [N, J]."""
    return options.num_ads / best_payment(options).unsqueeze(-1)


def log_prob(logit_NJ: Tensor, action_N: Tensor) -> Tensor:
    """Log-probability of each lane's option, [N]."""
    return at(logit_NJ.log_softmax(-1), action_N)
