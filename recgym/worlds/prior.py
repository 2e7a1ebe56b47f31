"""True shops drawn by seed: one prior over the knobs, so that no one shop decides a verdict."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recgym.worlds.knobs import Knobs
from recgym.worlds.taste import TasteShop

Range = tuple[float, float]  # least and most, evenly likely in between


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Where the knobs of a drawn shop lie; each is drawn on its own, its unit as in `Knobs`.

    Chosen by the sanity figures of shops drawn from it (conversion, session length, headroom over
    the logging policy), before any user model was fitted on one.
    """

    # always on
    rho: Range = (0.0, 0.9)
    slot: Range = (-4.6, -3.6)
    shown_pull: Range = (0.5, 1.2)
    shown_interest: Range = (0.1, 0.5)
    position: Range = (0.15, 0.6)
    dissimilarity: Range = (0.3, 0.9)
    page_weight: Range = (0.2, 0.7)
    fatigue: Range = (0.1, 0.6)
    attention: Range = (0.8, 1.2)
    quality: Range = (0.3, 1.2)
    price_quality: Range = (0.1, 0.5)
    price_noise: Range = (0.15, 0.35)
    price_slope: Range = (2.0, 3.6)
    leave_shift: Range = (-0.3, 0.3)  # of every intent's logit of leaving

    # on in one shop of two, all of a kind together
    chance: float = 0.5
    boredom: Range = (0.2, 0.7)
    boredom_leave: Range = (0.1, 0.4)
    reference: Range = (0.4, 1.2)
    similarity: Range = (0.5, 2.0)
    decoy: Range = (0.2, 0.8)
    heterogeneity: Range = (0.2, 0.5)
    drift: Range = (0.05, 0.2)
    logger_sees: Range = (0.3, 1.0)

    myopic: float = 0.2  # chance that what is shown now changes nothing later


ALWAYS = ("rho", "slot", "shown_pull", "shown_interest", "position", "dissimilarity", "page_weight",
          "fatigue", "attention", "quality", "price_quality", "price_noise",
          "price_slope")  # fmt: skip
TOGETHER = (
    ("boredom", "boredom_leave"),
    ("reference",),
    ("similarity", "decoy"),
    ("heterogeneity",),
    ("drift",),
    ("logger_sees",),
)


def draw_knobs(seed: int, prior: Prior | None = None) -> Knobs:
    """The knobs of shop ``seed``; they do not depend on the size of the shop."""
    prior, base = prior or Prior(), Knobs()
    generator = np.random.default_rng((seed, 1))

    def uniform(bounds: Range) -> float:
        return float(generator.uniform(*bounds))

    # every number is drawn, wanted or not, so that one more knob moves no other
    drawn = {name: uniform(getattr(prior, name)) for name in ALWAYS}
    shift = uniform(prior.leave_shift)
    for names in TOGETHER:
        on = bool(generator.random() < prior.chance)
        drawn |= {name: uniform(getattr(prior, name)) * on for name in names}
    knobs = dataclasses.replace(base, **drawn)  # type: ignore[arg-type]
    change = _spread(base) - _spread(knobs)
    browse, compare, buy = (x + shift for x in base.intent_leave)
    return dataclasses.replace(
        knobs,
        seed=seed,
        intent_leave=(browse, compare, buy),
        long_term=bool(generator.random() >= prior.myopic),
        buy=base.buy + change,
        cart=base.cart + change,
    )


def _spread(knobs: Knobs) -> float:
    """Log of the mean of e^x over items, x what quality and price add to the logit of buying.

    Taken off the logits, so that shops with other qualities and slopes still sell about as much.
    """
    slope = knobs.price_slope + 0.5 * (1.0 + knobs.loss_aversion) * knobs.reference
    quality = knobs.quality - slope * knobs.price_quality
    return 0.5 * (quality**2 + slope**2 * (knobs.price_noise**2 + 0.35**2))


def drawn(
    seed: int = 0,
    *,
    prior: dict[str, Any] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    **fixed: Any,
) -> TasteShop:
    """The true shop number ``seed``: its knobs, catalogue and segments.

    Args:
        seed: of everything; shop N is the same shop in each version of this prior only.
        prior: other ranges, by name; a pair of equal numbers fixes a knob.
        device: of all tensors.
        dtype: of every float.
        fixed: knobs that are not drawn, by name.
    """
    ranges: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (prior or {}).items()
    }
    knobs = vars(draw_knobs(seed, Prior(**ranges)))
    assert all(math.isfinite(x) for x in knobs.values() if isinstance(x, float))
    return TasteShop(device=device, dtype=dtype, **{**knobs, **fixed})
