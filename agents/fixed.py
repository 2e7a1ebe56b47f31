"""Policies fixed before any fit: linear rules on what every site can observe.

A learned shop is judged by how it ranks and values them, whichever user model stands behind it: so
they may not come from one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.baselines import top_k
from recgym import rng
from recgym.rng import Purpose
from recgym.types import Observation

FADING = 0.7  # weight of each view in the shopper's recent taste, against the one after it


@dataclass(frozen=True)
class Rule:
    """Weights of a linear score; each part has a standard deviation of about 1 over items."""

    popular: float  # log of views in the training period
    cheap: float  # minus log price in force
    alike: float  # match of the site's features with the last views, fading
    again: float  # viewed before in this session
    liked: float  # an opinion on each item, drawn by seed
    mixed: float  # noise, new on each page
    filled: int  # slots that hold an item


class FixedRule:
    """The K items of highest score.

    It holds all that it knows of items but their prices: the catalogue of the shop that it happens
    to be valued in may describe them by other features, and one policy would be two.

    Args:
        rule: the weights.
        views_I: views of each item in the training period.
        feature_IE: of the site's catalogue.
        opinion_I: what the rule holds of each item, standard normal.
        num_slots: K.
    """

    def __init__(
        self,
        rule: Rule,
        views_I: Tensor,
        feature_IE: Tensor,
        opinion_I: Tensor,
        *,
        num_slots: int,
    ) -> None:
        self.rule, self.num_slots, self.feature_IE = rule, num_slots, feature_IE
        fame_I = views_I.double().add(1.0).log()
        self.standing_I = rule.popular * _standard(fame_I) + rule.liked * opinion_I.double()

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], a function of what the site knows and of (lane seed, session, page)."""
        score_NI = self.scores(observation)
        who = observation.arrival
        key_N = rng.key(who.seed, who.session, observation.visit.page_number, Purpose.POLICY)
        noise_NI = rng.normal(key_N, score_NI.shape[1], score_NI.dtype)
        score_NI = score_NI + self.rule.mixed * noise_NI
        item_NK = top_k(score_NI, observation.eligible, self.num_slots)
        place_K = torch.arange(self.num_slots, device=item_NK.device)
        return item_NK.masked_fill(place_K >= self.rule.filled, -1)

    def scores(self, observation: Observation) -> Tensor:
        """Of each item before the noise, [N, I]."""
        rule, feature = self.rule, self.feature_IE
        history_NL = observation.visit.history_item
        seen_NL = (history_NL >= 0).to(feature.dtype)
        fading_L = FADING ** torch.arange(history_NL.shape[1], device=feature.device)
        weight_NL = seen_NL * fading_L.to(feature.dtype)
        weight_NL = weight_NL / weight_NL.sum(-1, keepdim=True).clamp(min=1e-9)
        taste_NE = (weight_NL.unsqueeze(-1) * feature[history_NL.clamp(min=0)]).sum(1)
        viewed_NI = torch.zeros(len(seen_NL), len(feature), device=feature.device)
        viewed_NI = viewed_NI.to(feature.dtype).scatter_add(-1, history_NL.clamp(min=0), seen_NL)
        log_price_NI = observation.price.clamp(min=1e-6).log()
        return (
            self.standing_I.to(feature)
            - rule.cheap * _standard(log_price_NI)
            + rule.alike * (taste_NE @ feature.T)
            + rule.again * viewed_NI.clamp(max=1.0)
        )


def _standard(value: Tensor) -> Tensor:
    centred = value - value.mean(-1, keepdim=True)
    return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-9)


def fixed_rules(
    views_I: Tensor, feature_IE: Tensor, *, num_slots: int, count: int = 24, seed: int = 0
) -> dict[str, FixedRule]:
    """So many rules, the same for every shop with as many items and for every user model.

    Weights are normal; one rule in four leaves slots empty, since how much to show is a question
    too.
    """
    generator = torch.Generator().manual_seed(seed)
    rules = {}
    for number in range(count):
        popular, cheap, alike, again, liked, mixed = torch.randn(6, generator=generator).tolist()
        opinion_I = torch.randn(len(views_I), generator=generator)
        few = int(torch.randint(1, num_slots + 1, (), generator=generator))
        rule = Rule(
            popular=popular,
            cheap=cheap,
            alike=2.0 * alike,
            again=again,
            liked=0.5 * liked,
            mixed=0.7 * abs(mixed),
            filled=few if number % 4 == 3 else num_slots,
        )
        rules[f"rule-{number:02d}"] = FixedRule(
            rule, views_I, feature_IE, opinion_I, num_slots=num_slots
        )
    return rules
