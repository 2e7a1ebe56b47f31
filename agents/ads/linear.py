"""LinUCB over the options of a page: a linear bandit, which never looks past the page.

Paper: Li, Chu, Langford and Schapire 2010, "A contextual-bandit approach to personalized news
article recommendation", algorithm 1; see `agents.linear`, whose sums these are. Deviations: one set
of weights for all options, over what `agents.ads.base.described` says of them; the prior's mean is
that an option brings what its ads are expected to pay.

Logged scalars: `error` (mean absolute of a page, in units of `agents.ads.scaling`), `width` (mean
standard deviation of a page's mean), `ads` (ads a page).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.ads.base import at, best, options_of
from agents.ads.scaling import Scale
from agents.linear import Ridge
from recgym.ads.records import AdObservation, AdTransition, Options
from recgym.settings import Count, Positive


class AdLinUCB(Ridge):
    """Ridge regression of what an option earns; see the module's docstring.

    Args:
        num_option: X, of an option.
        device: of all tensors.
        alpha: width of exploration, in standard deviations of unit noise.
        prior: precision of each weight before any data.
    """

    def __init__(
        self,
        *,
        num_option: Count,
        device: torch.device | str = "cpu",
        alpha: Positive = 0.3,
        prior: Positive = 100.0,
    ) -> None:
        self.alpha = alpha
        self.scale = Scale(0, num_option).to(device)
        count = 2 + len(self.scale.option_mean)
        super().__init__(count, prior, torch.device(device))  # the payment has weight 1

    @torch.no_grad()
    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option of highest mean, [N]; with ``explore`` of highest upper bound."""
        options = options_of(observation)
        score_NJ = self.scores(observation)
        if explore:
            score_NJ = score_NJ + self.alpha * self._width(self._features(options))
        return best(score_NJ, options.allowed)

    @torch.no_grad()
    def scores(self, observation: AdObservation) -> Tensor:
        """The mean that each option is expected to earn, in units, [N, J]."""
        return self._features(options_of(observation)) @ self._mean()

    def _features(self, options: Options) -> Tensor:
        """Payment in units, 1, and what describes the option, [N, J, Z] float64."""
        paid_NJ1 = (options.payment / self.scale.unit).unsqueeze(-1)
        parts = [paid_NJ1, torch.ones_like(paid_NJ1), self.scale.options(options)]
        return torch.cat(parts, -1).double()

    @torch.no_grad()
    def learn(
        self, observation: AdObservation, action_N: Tensor, transition: AdTransition
    ) -> dict[str, Tensor]:
        """Take in what each lane's page earned."""
        options = options_of(observation)
        if self.steps == 0:
            self.scale.take(observation.feature[:, :0], options, transition.reward)
        feature_NZ = at(self._features(options), action_N)
        earned_N = (transition.reward / self.scale.unit).double()
        error_N = (feature_NZ @ self._mean() - earned_N).abs()
        self._take_in(feature_NZ, earned_N)
        return {
            "error": error_N.mean(),
            "width": self._width(feature_NZ).mean(),
            "ads": at(options.num_ads, action_N).double().mean(),
        }

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The sums, and the scales that their features are in."""
        return super().state_dict(learning=learning) | {"scale": self.scale.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from saved sums."""
        super().load_state_dict(state)
        self.scale.load_state_dict(state["scale"])
