"""What ads do to shoppers: how they tire of them, learn to overlook them, leave and stay away.

An ad in slot k (from 0) is looked at with attention x_k = e^(-p log2(k + 1)), and is relevant by
r_k = sigmoid(v_k + p log2(k + 1) - o): v_k is the log-mass that its item has there without being an
ad, p the loss of it a doubling of the position, o that of an ordinary item in the first slot. From
page to page

    tired' = m · tired + sum over ads of x_k (1 - r_k)
    trust' = trust + a · sum over ads of x_k (r_k - trust),    in [0, 1], from 1/2

and on each page a slot with an ad has the log-mass v_k + level - b (1 - 2 trust), the logit of
leaving rises by l · tired, and after the session the logit of coming back falls by s · tired. Days
away halve tiredness every `rest_days`.

That users click less on ads after many bad ones, and more after good ones, slowly and for long, is
the finding of Hohnhold, O'Brien and Tang 2015, "Focusing on the long-term: it's good for users and
business" (ads blindness and sightedness, section 4); that they leave when too many or ill-placed
ads interrupt them is what Zhao et al. 2021, "DEAR: Deep reinforcement learning for online
advertising impression in recommender systems", train against. The form is ours, the simplest that
fades and is bounded; no number of the presets has a source but its effect, which is measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.lanes import Shared
from recgym.settings import Positive, Share, Within, check

BEGIN_TRUST = 0.5  # of a shopper who has met no ad
AtLeast0 = Annotated[float, Within(0.0)]


@dataclass(frozen=True, kw_only=True)
class AdLaw:
    """The numbers of the law above; the defaults are those of shoppers to whom ads are items."""

    level: float = 0.0  # added to the log-mass of a slot that holds an ad
    blindness: AtLeast0 = 0.0  # b, log-mass of an ad that full distrust takes
    trust_rate: Share = 0.0  # a, share of the way to an ad's relevance that trust goes
    memory: Share = 0.0  # m, of tiredness, kept from page to page
    rest_days: Positive = 3.0  # away, in which tiredness halves
    leave: AtLeast0 = 0.0  # l, logit of leaving a unit of tiredness
    back: AtLeast0 = 0.0  # s, logit of coming back, taken off a unit of tiredness
    position: AtLeast0 = 0.35  # p, log-mass lost a doubling of the position
    ordinary: float = -4.05  # o, log-mass of an ordinary item in the first slot
    # what a fitted model's own levels hold of the ads in its log, put right; see `Usual`
    slot_shift: float = 0.0  # added to the log-mass of a slot, times the ad share of its item
    leave_shift: float = 0.0  # added to the logit of leaving, times the usual tiredness
    back_shift: float = 0.0  # added to the logit of coming back, times the usual tiredness

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check("ads.law", vars(self), AdLaw)

    @classmethod
    def of(cls, given: str | Mapping[str, Any] | AdLaw) -> AdLaw:
        """A preset by name, or the law of these numbers, the others being those of its ``preset``.

        Raises:
            UserError: naming a preset or a number that does not exist, or is out of bounds.
        """
        if isinstance(given, AdLaw):
            return given
        changed = {"preset": given} if isinstance(given, str) else dict(given)
        name = changed.pop("preset", "none")
        if name not in PRESETS:
            raise UserError(
                f"ads.law={name!r} is no preset: expected one of {', '.join(PRESETS)}, or numbers "
                "by name."
            )
        check("ads.law", changed, AdLaw)
        return dataclasses.replace(PRESETS[name], **changed)

    def acts(self) -> bool:
        """Whether shoppers answer otherwise than they would without this law."""
        numbers = (self.level, self.blindness, self.leave, self.back)
        return any((*numbers, self.slot_shift, self.leave_shift, self.back_shift))

    def depth(self, num_slots: int, like: Tensor) -> Tensor:
        """Log-mass that the place of each slot costs, [K]."""
        slot_K = torch.arange(1, num_slots + 1, dtype=like.dtype, device=like.device)
        return self.position * slot_K.log2()

    def looked_at(self, slot_NK: Tensor, sponsored_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Attention to each ad, 0 where there is none, and its relevance, each [N, K]."""
        depth_K = self.depth(slot_NK.shape[1], slot_NK)
        attention_NK = (-depth_K).exp() * sponsored_NK
        # an empty slot has -inf, and holds no ad: 0 · r is then 0 all the same
        return attention_NK, torch.sigmoid(slot_NK + depth_K - self.ordinary)

    def rested(self, tired_N: Tensor, days_N: Tensor) -> Tensor:
        """Tiredness after so many days away, [N]."""
        return tired_N * (-math.log(2.0) / self.rest_days * days_N.clamp(min=0.0)).exp().to(tired_N)


@dataclass(frozen=True)
class Usual(Shared):
    """What ads were like in the log that a user model was fitted to without a word of them.

    Its items' levels hold what being an ad did to those that often were one, and its shoppers'
    patience what the usual tiredness did, page by page.
    """

    ad_share: Tensor  # [I] float64, ads among the log's showings of each item
    annoyance: float  # what a page of the log added to tiredness, on average

    def tired(self, memory: float | Tensor, page_number_N: Tensor) -> Tensor:
        """Tiredness before a page of this number, were all before it alike, [N] float64."""
        kept = torch.as_tensor(memory, dtype=torch.float64, device=page_number_N.device)
        kept = kept.clamp(max=1.0 - 1e-6)  # the sum of a geometric series has no value at 1
        return self.annoyance * (1.0 - kept ** page_number_N.double()) / (1.0 - kept)


def annoyance(attention_NK: Tensor, relevance_NK: Tensor) -> Tensor:
    """What a page's ads add to tiredness, [N]."""
    return (attention_NK * (1.0 - relevance_NK)).sum(-1)


def next_trust(
    rate: float | Tensor, trust_N: Tensor, attention_NK: Tensor, relevance_NK: Tensor
) -> Tensor:
    """Trust after a page, [N] in [0, 1]."""
    toward_N = (attention_NK * (relevance_NK - trust_N.unsqueeze(-1))).sum(-1)
    return (trust_N + rate * toward_N).clamp(0.0, 1.0)


def ad_mass(level: float | Tensor, blindness: float | Tensor, trust_N: Tensor) -> Tensor:
    """What being an ad adds to a slot's log-mass, [N]."""
    return level - blindness * (1.0 - 2.0 * trust_N)


# of the default world; what they do to sessions is measured in `tests/test_sponsored.py`
PRESETS = {
    "none": AdLaw(),
    "mild": AdLaw(
        level=-0.2, blindness=0.5, trust_rate=0.05, memory=0.85, leave=0.025, back=0.1
    ),
    "strong": AdLaw(
        level=-0.3, blindness=1.0, trust_rate=0.1, memory=0.9, leave=0.2, back=0.4
    ),
}  # fmt: skip
