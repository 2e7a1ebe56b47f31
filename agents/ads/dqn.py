"""DQN for ads: a value for each option of a page, over insertions or over whole allocations.

Papers: Zhao et al. 2021, "DEAR: deep reinforcement learning for online advertising impression in
recommender systems", where state and candidate ad go in and a value for each place and
for "none" comes out (``env=ad_insert``); Liao et al. 2022, "Cross DQN: cross deep Q network for ads
allocation in feed", which values whole allocations of a page under a target ad load
(``env=ad_allocate``). `double`: van Hasselt, Guez and Silver 2016, equation 4; the duelling form:
`agents.ads.network`. With ``gamma=0`` it is the short-sighted agent of this kind.

It begins at what is known: an option's ads bring what the request expects them to pay, and count as
so many ads against the load; what is learned is the rest. Two returns are learned, of the reward
and of ads beyond the cap; an option is chosen by the first minus the second times the price of
`agents.ads.dual`, so a price that moves needs nothing learned anew (Roijers et al. 2013, "A survey
of multi-objective sequential decision-making": values as vectors, weighed when acting).

What an ad costs later is small beside the noise of sales, so what is learned is a doubt about what
is known: `anchor` times the squared gains holds it at 0 (as in `agents.dqn`), and an average of the
network over many updates acts (Polyak and Juditsky 1992, "Acceleration of stochastic approximation
by averaging"), or the load would move with each of them.

Deviations: Cross DQN keeps the load at its target by a penalty on the share of pages of a batch;
here the price does, moved by the greedy choices. Its target lacks a bootstrap; this one has it. The
next option is sought among the ``num_candidates`` that score best when the transition is stored.
The loss is squared, not Huber's: rare orders make up most of the money, and a median would forget
them. Half of the random options are pages without ads.

Logged scalars: `loss` (squared error, in units of `Scale`), `value` (mean V), `gain` (mean gain of
the chosen options above what they pay), `doubt` (mean squared gain), `td_error` (mean absolute),
`epsilon` (share of random options), `load` (ads ÷ impressions of the greedy choices), `price` (of
an ad beyond the cap, currency units).
"""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from torch import Tensor, nn

from agents import slateq
from agents.ads.base import at, best, best_payment_per_ad, options_of, some_options_at_random
from agents.ads.dual import Multiplier
from agents.ads.network import OptionNetwork
from agents.exploring import falling
from agents.off_policy import FromMemory
from agents.replay import Replay
from recgym.ads.records import AdObservation, AdTransition, Options
from recgym.settings import Count, Positive, Share, Within

KEPT = ("network", "target", "average", "optimiser", "multiplier")
REWARD, EXCESS = range(2)  # outputs of the network


class AdDQN(FromMemory):
    """DQN over options; see the module's docstring.

    Args:
        num_features, num_option: O, of the observation, and X, of an option.
        seed: of the network, of replay and, through the lanes' seeds, of exploration.
        device: of all tensors.
        load_cap: of the task; ``constrained`` says whether it is kept.
        gamma, learning_rate, clip: discount a page; Adam's; the largest norm of a gradient.
        batch_size, capacity: transitions of an update, and those that are kept.
        num_candidates: options of each next state among which the next one is sought.
        hidden: width of the network.
        target_rate, averaging: share of the online network that enters the target, and the average
            that acts, at each update.
        epsilon: random options, at first and after ``epsilon_steps`` of all lanes.
        learning_starts, updates: transitions before the first update; gradient steps for each step.
        anchor: weight of the squared gains beside what is known.
        double: whether the online network picks the next option, else the target network.
        dual_rate: of the price of an ad beyond the cap.
    """

    name = "ad_dqn"

    def __init__(
        self,
        *,
        num_features: int,
        num_option: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        load_cap: Share | None = None,
        constrained: bool = True,
        gamma: Share = 0.95,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 512,
        capacity: Count = 50_000,
        num_candidates: Count = 16,
        hidden: Count = 128,
        target_rate: Share = 0.01,
        averaging: Share = 0.0025,
        epsilon: tuple[Share, Share] = (0.5, 0.05),
        epsilon_steps: Count = 400,
        learning_starts: Count = 2_000,
        updates: Count = 4,
        clip: Positive = 10.0,
        anchor: Annotated[float, Within(0.0)] = 10.0,
        double: bool = True,
        dual_rate: Positive = 0.02,
    ) -> None:
        device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = OptionNetwork(num_features, num_option, hidden, 2)
        self.network = network.to(device)
        self.target, self.average = copy.deepcopy(self.network), copy.deepcopy(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.multiplier = Multiplier(load_cap if constrained else None, dual_rate, device)
        self.gamma, self.clip, self.double = gamma, clip, double
        self.num_candidates, self.anchor = num_candidates, anchor
        self.target_rate, self.averaging = target_rate, averaging
        self.epsilon, self.epsilon_steps = epsilon, epsilon_steps
        super().__init__(
            {name: getattr(self, name) for name in KEPT},
            Replay(capacity, device),
            seed=seed, batch_size=batch_size, learning_starts=learning_starts, updates=updates,
        )  # fmt: skip

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option of highest value, [N]; with ``explore`` a random one in some lanes."""
        chosen_N = self._greedy(observation)
        if explore:
            chosen_N = some_options_at_random(observation, chosen_N, self._epsilon())
        return chosen_N

    @torch.no_grad()
    def q_values(self, observation: AdObservation) -> Tensor:
        """Of each option that may be shown, beside a page without ads, in units, [N, J]."""
        options = options_of(observation)
        return self._scores(observation, options).masked_fill(~options.allowed, -torch.inf)

    def scores(self, observation: AdObservation) -> Tensor:
        """What options are chosen by, as in `q_values`, [N, J]."""
        return self.q_values(observation)

    def _epsilon(self) -> float:
        return falling(self.epsilon, self.steps, self.epsilon_steps)

    def _greedy(self, observation: AdObservation) -> Tensor:
        options = options_of(observation)
        return best(self._scores(observation, options), options.allowed)

    def _scores(self, observation: AdObservation, options: Options) -> Tensor:
        """Of each option beside a page without ads, [N, J]."""
        scale = self.network.scale
        state_NO, option_NJX = scale.state(observation.feature), scale.options(options)
        _, gain_NJ2 = self.average(state_NO, option_NJX)
        return self._score(ads_gain(gain_NJ2, known(options, scale.unit)))

    def _score(self, value_NJ2: Tensor) -> Tensor:
        """Reward minus the price of the ads beyond the cap, in units."""
        price = self.multiplier.price / self.network.scale.unit
        return value_NJ2[..., REWARD] - price * value_NJ2[..., EXCESS]

    # ---- learning -------------------------------------------------------------------------------

    def learn(
        self, observation: AdObservation, action_N: Tensor, transition: AdTransition
    ) -> dict[str, Tensor]:
        """Store one step of all lanes, move the price, then take `updates` gradient steps."""
        options = options_of(observation)
        with torch.no_grad():
            if self.steps == 0:
                for network in (self.network, self.target, self.average):
                    network.scale.take(observation.feature, options, transition.reward)
            rows = self._rows(observation, options, action_N, transition)
            num_ads_N = at(options.num_ads, self._greedy(observation)).to(rows["reward"].dtype)
            shown_N = transition.outcome.impressions.to(num_ads_N.dtype)
            self.multiplier.step(num_ads_N, shown_N, best_payment_per_ad(options).mean())
            load = num_ads_N.sum() / shown_N.sum().clamp(min=1.0)
        said = {
            "load": load,
            "price": self.multiplier.price,
            "epsilon": torch.tensor(self._epsilon()),
        }
        return self._improve(rows) | said

    def _rows(
        self,
        observation: AdObservation,
        options: Options,
        action_N: Tensor,
        transition: AdTransition,
    ) -> dict[str, Tensor]:
        """What is kept of a step, each [N, ...], in units of `Scale`."""
        scale, outcome = self.network.scale, transition.outcome
        following = transition.final_observation
        reward_N = transition.reward / scale.unit
        assert outcome.page.sponsored is not None
        ads_N = outcome.page.sponsored.sum(-1).to(reward_N.dtype)
        return {
            "state": scale.state(observation.feature),
            "option": at(scale.options(options), action_N),
            "known": at(known(options, scale.unit), action_N),
            "reward": torch.stack(
                [reward_N, self.multiplier.excess(ads_N, outcome.impressions)], -1
            ),
            "going": (~transition.terminated).to(reward_N.dtype),
            "next_state": scale.state(following.feature),
            **self._candidates(following),
        }

    def _candidates(self, observation: AdObservation) -> dict[str, Tensor]:
        """The options of a next state that score best now, each [N, C, ...]."""
        options, scale = options_of(observation), self.network.scale
        score_NJ = self._scores(observation, options).masked_fill(~options.allowed, -torch.inf)
        count = min(self.num_candidates, score_NJ.shape[1])
        index_NC = score_NJ.topk(count, -1).indices
        lane_N1 = torch.arange(len(index_NC), device=index_NC.device).unsqueeze(-1)
        return {
            "next_option": scale.options(options)[lane_N1, index_NC],
            "next_known": known(options, scale.unit)[lane_N1, index_NC],
            "next_allowed": options.allowed[lane_N1, index_NC],
        }

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """One gradient step on the error of the chosen options."""
        target_R2 = self._target(rows)
        value_R2, gain_R12 = self.network(rows["state"], rows["option"].unsqueeze(1))
        known_R2 = rows["known"]
        output_R2 = value_R2 + ads_gain(gain_R12, known_R2.unsqueeze(1)).squeeze(1)
        error_R2 = output_R2 - target_R2
        loss = error_R2.square().sum(-1).mean()
        doubt = gain_R12.square().sum(-1).mean()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + self.anchor * doubt).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        with torch.no_grad():
            slateq.follow(self.target, self.network, self.target_rate)
            slateq.follow(self.average, self.network, self.averaging)
            return {
                "loss": loss.detach(),
                "value": value_R2[..., REWARD].mean(),
                "gain": (output_R2 - value_R2 - known_R2)[..., REWARD].mean(),
                "doubt": doubt.detach(),
                "td_error": error_R2[..., REWARD].abs().mean(),
            }

    @torch.no_grad()
    def _target(self, rows: dict[str, Tensor]) -> Tensor:
        """Both returns: one network picks the next option, the target network values it, [R, 2]."""
        value_R2, gain_RJ2 = self.target(rows["next_state"], rows["next_option"])
        gain_RJ2 = ads_gain(gain_RJ2, rows["next_known"])
        picking_RJ2 = gain_RJ2
        if self.double:
            _, online_RJ2 = self.network(rows["next_state"], rows["next_option"])
            picking_RJ2 = ads_gain(online_RJ2, rows["next_known"])
        index_R = best(self._score(picking_RJ2), rows["next_allowed"])
        following_R2 = value_R2 + at(gain_RJ2, index_R)
        target_R2: Tensor = rows["reward"] + self.gamma * rows["going"].unsqueeze(-1) * following_R2
        return target_R2


def known(options: Options, unit: Tensor) -> Tensor:
    """What is known of options before anything is learned: their payment and their ads, [N, J, 2].

    The ads that a page may hold without going beyond the cap are the state's: V learns them.
    """
    return torch.stack([options.payment / unit, options.num_ads.to(options.payment.dtype)], -1)


def ads_gain(gain_NJ2: Tensor, known_NJ2: Tensor) -> Tensor:
    """What an option adds to a page without ads, [N, J, 2]; 0 without ads."""
    return (gain_NJ2 + known_NJ2) * (known_NJ2[..., EXCESS:] > 0)
