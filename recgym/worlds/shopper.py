"""The hidden state of a true shop's shoppers, and how it begins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym import rng
from recgym.lanes import Record, Shared
from recgym.rng import Purpose
from recgym.types import Arrival
from recgym.worlds.arrivals import segment_of
from recgym.worlds.catalogue import Catalogue
from recgym.worlds.knobs import Knobs


@dataclass(frozen=True)
class TasteState(Record):
    """A shopper of the true shop; hidden from every site and every learner."""

    organic_taste: Tensor  # [N, F]
    shown_taste: Tensor  # [N, F]
    price_sensitivity: Tensor  # [N] elasticity-like slope on log price
    leave: Tensor  # [N] logit of leaving, this session
    checkout: Tensor  # [N] logit of paying a filled cart, this session
    buying: Tensor  # [N] added to the logits of buy and cart, this session
    focus: Tensor  # [N] weight of the last views in the search for the next
    interest: Tensor  # [N, F] fading mean of the items viewed
    satisfied: Tensor  # [N] 1 after an order
    # None where the knob behind them is off
    segment: Tensor | None  # [N] int64, whose law of the page holds
    sated: Tensor | None  # [N, C] fading count of the views of each category
    reference: Tensor | None  # [N] log price that seems usual
    content: Tensor | None  # [N] contentment in [-1, 1], on which coming back hangs


@dataclass(frozen=True)
class Intents(Shared):
    """What a session is for: one value for each of browse, compare, buy."""

    share: Tensor  # [3]
    leave: Tensor  # [3] logit
    buying: Tensor  # [3] added to the logits of buy and cart
    checkout: Tensor  # [3] logit
    focus: Tensor  # [3] weight of the last views in the next search


def intents(knobs: Knobs, device: torch.device, dtype: torch.dtype) -> Intents:
    """The intents of these knobs."""

    def tensor(x: tuple[float, ...]) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float64).to(device, dtype)

    return Intents(
        share=tensor(knobs.intent_share),
        leave=tensor(knobs.intent_leave),
        buying=tensor(knobs.intent_buying),
        checkout=tensor(knobs.intent_checkout),
        focus=tensor(knobs.intent_focus),
    )


def begin(arrival: Arrival, knobs: Knobs, goods: Catalogue, intents: Intents) -> TasteState:
    """Tastes belong to the shopper, the intent to the session."""
    seed_N, dtype, width = arrival.seed, goods.factor.dtype, goods.factor.shape[1]
    segment_N, thrift_N = segment_of(seed_N, knobs, dtype)
    key_N = rng.key(seed_N, torch.zeros_like(seed_N), 1, Purpose.SHOPPER)
    z_N2F = rng.normal(key_N, 2 * width, dtype)
    organic_NF = goods.organic_centre[segment_N] + 0.6 * z_N2F[:, :width]
    own_NF = goods.own_centre[segment_N] + 0.6 * z_N2F[:, width:]
    session_N = rng.key(seed_N, arrival.session, 0, Purpose.SESSION)
    u_N = rng.uniform(session_N, dtype=dtype)
    intent_N = rng.pick(intents.share.expand(len(seed_N), 3), u_N)
    patience_N = rng.normal(rng.mix(session_N + 1), dtype=dtype)
    slope_N = knobs.price_slope * (knobs.price_slope_spread * thrift_N).exp()
    bored = knobs.boredom or knobs.boredom_leave
    return TasteState(
        organic_taste=organic_NF,
        shown_taste=knobs.rho * organic_NF + (1 - knobs.rho**2) ** 0.5 * own_NF,
        price_sensitivity=slope_N,
        leave=intents.leave[intent_N] + knobs.leave_spread * patience_N,
        checkout=intents.checkout[intent_N],
        buying=intents.buying[intent_N],
        focus=intents.focus[intent_N],
        interest=torch.zeros_like(organic_NF),
        satisfied=torch.zeros_like(slope_N),
        segment=segment_N if knobs.heterogeneity else None,
        sated=slope_N.new_zeros(len(seed_N), knobs.num_categories) if bored else None,
        reference=torch.full_like(slope_N, goods.mean_log_price) if knobs.reference else None,
        content=torch.zeros_like(slope_N) if knobs.returns else None,
    )
