"""Rankings drawn from scores: softened versions of deterministic rankers, whose pages have odds.

How many slots hold an item is drawn first, then a Plackett-Luce ranking over all items
(`recgym.plackett_luce`). The sharper, the nearer to the ranker itself; at 0 all items are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from agents.exploring import lane_key
from agents.fixed import FixedRule
from recgym import rng
from recgym.errors import UserError
from recgym.plackett_luce import gumbel, slot_log_probs
from recgym.rng import Purpose
from recgym.types import Observation

Scores = Callable[[Observation], Tensor]  # of each item, [N, I]


class SoftRanking:
    """K slots by Plackett-Luce over standardised scores, some of the last ones left empty.

    Args:
        scores: of the ranker.
        sharpness: logits for a standard deviation of the scores over items.
        filled: probability of 0, 1, ... K slots that hold an item.
        noise: standard deviation of what the ranker itself adds to its scores at random.
    """

    def __init__(
        self, scores: Scores, *, sharpness: float, filled: Sequence[float], noise: float = 0.0
    ) -> None:
        if sharpness < 0 or min(filled) < 0 or abs(sum(filled) - 1.0) > 1e-6:
            raise UserError(
                f"sharpness={sharpness}, filled={list(filled)}: expected at least 0, and "
                "probabilities of 0, 1, ... slots that add up to 1."
            )
        self.scores, self.sharpness, self.noise = scores, sharpness, noise
        self.filled_L = torch.tensor(filled, dtype=torch.float64)
        self.num_slots = len(filled) - 1

    def logits(self, observation: Observation) -> Tensor:
        """Of each item, [N, I]; -inf for one that may not be shown."""
        score_NI = self.scores(observation).double()
        centred_NI = score_NI - score_NI.mean(-1, keepdim=True)
        square_N1 = centred_NI.square().mean(-1, keepdim=True) + self.noise**2
        logit_NI = self.sharpness * centred_NI / square_N1.sqrt().clamp(min=1e-9)
        return logit_NI.masked_fill(~observation.eligible, -torch.inf)

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], a function of what the site knows and of (lane seed, session, page)."""
        logit_NI = self.logits(observation)
        u_NI = rng.uniform(lane_key(observation, Purpose.POLICY), logit_NI.shape[1], torch.float64)
        u_N = rng.uniform(lane_key(observation, Purpose.COMPONENT), dtype=torch.float64)
        return self._page(logit_NI, u_NI, u_N)

    def draw(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Items [N, K] of another draw, for expectations over its pages."""
        logit_NI = self.logits(observation)
        u_NI = torch.rand(logit_NI.shape, generator=generator, dtype=torch.float64)
        u_N = torch.rand(len(logit_NI), generator=generator, dtype=torch.float64)
        return self._page(logit_NI, u_NI.to(logit_NI.device), u_N.to(logit_NI.device))

    def _page(self, logit_NI: Tensor, u_NI: Tensor, u_N: Tensor) -> Tensor:
        item_NK = (logit_NI + gumbel(u_NI)).topk(self.num_slots, -1).indices
        filled_N = rng.pick(self.filled_L.to(u_N).expand(len(u_N), -1), u_N)
        place_K = torch.arange(self.num_slots, device=item_NK.device)
        return item_NK.masked_fill(place_K >= filled_N.unsqueeze(-1), -1)

    def slate_log_probs(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """Log P(this slot | the slots above), [N, K]; -inf for an item below an empty slot."""
        return self._number(item_NK >= 0) + slot_log_probs(self.logits(observation), item_NK)

    def marginals(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """P(this item in this slot), whatever stands above, [N, K]; 1 for an empty slot.

        By the sum over all first items, which gives two slots and no more.
        """
        if item_NK.shape[1] > 2:
            raise UserError(f"marginals of {item_NK.shape[1]} slots: expected at most 2.")
        chance_NI = self.logits(observation).softmax(-1)
        odds_NI = chance_NI / (1.0 - chance_NI).clamp(min=1e-12)
        second_NI = chance_NI * (odds_NI.sum(-1, keepdim=True) - odds_NI)
        each_N2I = torch.stack([chance_NI, second_NI], 1)[:, : item_NK.shape[1]]
        index_NK1 = item_NK.clamp(min=0).unsqueeze(-1)
        reached_L = self.filled_L.to(chance_NI).flip(0).cumsum(0).flip(0)
        found_NK = each_N2I.gather(-1, index_NK1).squeeze(-1) * reached_L[1:]
        return found_NK.masked_fill(item_NK < 0, 1.0)

    def _number(self, filled_NK: Tensor) -> Tensor:
        """Log P(slot k is filled, or is the first empty one | those above are filled), [N, K]."""
        stop_L = self.filled_L.to(filled_NK.device)
        reached_L = stop_L.flip(0).cumsum(0).flip(0)  # P(at least so many slots are filled)
        stop_K = (stop_L[:-1] / reached_L[:-1]).nan_to_num(1.0)
        above_NK = (
            torch.cat([torch.ones_like(filled_NK[:, :1]), filled_NK[:, :-1]], -1).cumprod(-1) > 0
        )
        log_NK = torch.where(filled_NK, torch.log1p(-stop_K), stop_K.log())
        wrong_NK = filled_NK & ~above_NK
        return log_NK.masked_fill(~above_NK, 0.0).masked_fill(wrong_NK, -torch.inf)


def softened(
    rules: dict[str, FixedRule], *, sharpness: float, filled: Sequence[float], kept: float
) -> dict[str, SoftRanking]:
    """Each rule as a soft ranking, so that a softened logging policy has shown its pages too.

    Args:
        rules: as `agents.fixed.fixed_rules` gives them.
        sharpness: as in `SoftRanking`; a rule's own noise counts among its scores' deviation.
        filled: of the logging policy.
        kept: share of pages with as many items as the rule shows; the others as in ``filled``.
    """
    found = {}
    for name, rule in rules.items():
        number = [(1.0 - kept) * part for part in filled]
        number[rule.rule.filled] += kept
        found[name] = SoftRanking(
            rule.scores, sharpness=sharpness, filled=number, noise=rule.rule.mixed
        )
    return found
