"""One policy after another from one log of a true shop, and what each is truly worth."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.soft import SoftRanking
from experiments.evaluating.estimates import Logged
from experiments.evaluating.features import Features
from experiments.evaluating.pages import REWARDS, Pages
from recgym import ope
from recgym.metrics import Estimate
from recgym.ope import Stochastic

FOLDS = 2
MAX_MARGINAL = 2  # slots for which `SoftRanking.marginals` is exact


class LoggedShop:
    """A log of a true shop, ready to value policies.

    Args:
        pages: of the log.
        logging: the policy that wrote it.
        unit: money of the features counts in it.
        draws: pages drawn for each history, over which a policy's expectation is taken.
        ridge: as in `recgym.ope.fitted_q`.
        seed: of those draws.
    """

    def __init__(
        self,
        pages: Pages,
        logging: SoftRanking,
        *,
        unit: float,
        draws: int = 2,
        ridge: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.pages, self.features = pages, Features(unit)
        self.draws, self.ridge, self.seed = draws, ridge, seed
        self.logging, self.log_chance_SK = logging, self._log_chances(logging)
        state_SF = pages.joined([self.features.state(seen) for seen in pages.seen])
        self.state_SF = torch.cat([state_SF, pages.ordered_S.to(state_SF).unsqueeze(-1)], -1)
        shown_SF = pages.joined(
            [self.features.page(*part) for part in zip(pages.seen, pages.item, strict=True)]
        )
        self.feature_SF = torch.cat([self.state_SF, shown_SF], -1)

    def _log_chances(self, policy: Stochastic) -> Tensor:
        parts = zip(self.pages.seen, self.pages.item, strict=True)
        return self.pages.joined([policy.slate_log_probs(*part).double() for part in parts])

    def log_ratios(self, policy: Stochastic) -> Tensor:
        """Of each slot of each page against the logging policy, [S, K]."""
        return self._log_chances(policy) - self.log_chance_SK

    def values(self, policy: SoftRanking) -> tuple[Tensor, Tensor]:
        """Q of each logged page and V of its history under a policy, [S, R] each."""
        generator = torch.Generator().manual_seed(self.seed)
        expected_SF = self.pages.joined(
            [
                torch.stack(
                    [
                        self.features.page(seen, policy.draw(seen, generator))
                        for _ in range(self.draws)
                    ]
                ).mean(0)
                for seen in self.pages.seen
            ]
        )
        return ope.values(
            self.feature_SF,
            torch.cat([self.state_SF, expected_SF], -1),
            self.pages.reward_SR,
            self.pages.ends(),
            self.pages.session_S % FOLDS,
            ridge=self.ridge,
        )

    def logged(self, policy: SoftRanking) -> dict[str, Logged]:
        """What the log says of a policy, by the name of the reward."""
        pages = self.pages
        log_ratio_BT = pages.padded(self.log_ratios(policy).sum(-1))
        q_BTR, v_BTR, reward_BTR = (
            pages.padded(x) for x in (*self.values(policy), pages.reward_SR)
        )
        return {
            name: Logged(
                log_ratio_BT,
                reward_BTR[..., r],
                q_BTR[..., r],
                v_BTR[..., r],
                torch.arange(pages.num_sessions),
            )
            for r, name in enumerate(REWARDS)
        }

    def slate_estimates(
        self, policy: SoftRanking, clip: float | None, seed: int
    ) -> dict[str, Estimate]:
        """Clicks a session by the estimators that look into pages."""
        pages, log_ratio_SK = self.pages, self.log_ratios(policy)
        weight_BT = ope.cumulative(pages.padded(log_ratio_SK.sum(-1)), clip)
        past_BT, clicked_BTK = ope.before(weight_BT), pages.padded(pages.clicked_SK)
        found = {"rips": ope.interaction(past_BT, pages.padded(log_ratio_SK), clicked_BTK)}
        if policy.num_slots <= MAX_MARGINAL:
            ratio_SK = self._marginals(policy) / self._marginals(self.logging)
            found["iips"] = ope.independent(past_BT, pages.padded(ratio_SK), clicked_BTK)
        shopper_B = torch.arange(pages.num_sessions)
        return {name: ope.estimate(parts, shopper_B, seed) for name, parts in found.items()}

    def _marginals(self, policy: SoftRanking) -> Tensor:
        parts = zip(self.pages.seen, self.pages.item, strict=True)
        return self.pages.joined([policy.marginals(*part) for part in parts])
