"""What is known of an offer when it is placed: its terms, and what the shopper did before.

Histories hold the orders that had come in before the coupons were placed and whose answers are
known; an answer given between placing and ordering is none of them, nor is how long the shopper
then took.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import torch
from torch import Tensor

from recgym.logs.coupons import CouponSlates

TERMS = ("base_price", "saving", "reward", "premium")
SHOPPER = ("newcomer", "orders", "shopper_excess")
KINDS = ("item", "brand", "group", "category")
HISTORY = tuple(f"{kind}_{what}" for kind in KINDS for what in ("seen", "excess"))
FEATURES = (*TERMS, *SHOPPER, *HISTORY)
# offers at which what was seen of them weighs as much as nothing known
SHRINKAGE = {"shopper": 10.0, "item": 2.0, "brand": 5.0, "group": 3.0, "category": 5.0}
Key = tuple[object, ...]
ALL: Key = ("all",)


def features(slates: CouponSlates, known_B: Tensor) -> Tensor:
    """Of every offer, [B, 3, F] in the order of `FEATURES`; histories of the known orders alone."""
    price_BK, base_BK = slates.price.double(), slates.base_price.double()
    terms_BKF = torch.stack(
        [
            base_BK.log1p(),
            (1.0 - price_BK / base_BK).nan_to_num(neginf=0.0).clamp(min=0.0),
            slates.reward.double(),
            slates.premium.double(),
        ],
        dim=-1,
    )
    return torch.cat([terms_BKF, torch.tensor(_histories(slates, known_B)).double()], dim=-1)


class _Tally:
    """Offers placed and used, by key."""

    def __init__(self) -> None:
        self.shown: defaultdict[Key, int] = defaultdict(int)
        self.used: defaultdict[Key, int] = defaultdict(int)

    def add(self, key: Key, used: bool) -> None:
        self.shown[key] += 1
        self.used[key] += used

    def excess(self, keys: list[Key], usual: float, shrinkage: float) -> float:
        """Share used above the usual one, drawn to 0 where little was seen."""
        shown = sum(self.shown.get(key, 0) for key in keys)
        used = sum(self.used.get(key, 0) for key in keys)
        return (used - usual * shown) / (shown + shrinkage)


def _histories(slates: CouponSlates, known_B: Tensor) -> list[list[list[float]]]:
    """Shopper and history features of every offer, in the order of the slates."""
    tally, orders = _Tally(), defaultdict[int, int](int)
    shopper, keys, used = slates.shopper.tolist(), _keys(slates), slates.used.tolist()
    time_ms, received_ms = slates.time_ms.tolist(), slates.received_ms.tolist()
    arriving = iter(sorted(known_B.nonzero().squeeze(-1).tolist(), key=time_ms.__getitem__))
    coming = next(arriving, None)
    found: list[list[list[float]]] = [[] for _ in shopper]
    for row in sorted(range(len(shopper)), key=received_ms.__getitem__):
        while coming is not None and time_ms[coming] < received_ms[row]:
            orders[shopper[coming]] += 1
            for offer, flag in zip(keys[coming], used[coming], strict=True):
                of_kinds = itertools.chain.from_iterable(offer.values())
                for key in (ALL, ("shopper", shopper[coming]), *of_kinds):
                    tally.add(key, flag)
            coming = next(arriving, None)
        found[row] = _of_slate(tally, orders[shopper[row]], shopper[row], keys[row])
    return found


def _of_slate(
    tally: _Tally, orders: int, shopper: int, offers: list[dict[str, list[Key]]]
) -> list[list[float]]:
    usual = tally.used[ALL] / max(tally.shown[ALL], 1)
    excess = tally.excess([("shopper", shopper)], usual, SHRINKAGE["shopper"])
    own = [float(orders == 0), math.log1p(orders), excess]
    rows = []
    for offer in offers:
        row = list(own)
        for kind in KINDS:
            seen = sum(tally.shown.get(key, 0) for key in offer[kind])
            row += [math.log1p(seen), tally.excess(offer[kind], usual, SHRINKAGE[kind])]
        rows.append(row)
    return rows


def _keys(slates: CouponSlates) -> list[list[dict[str, list[Key]]]]:
    """Of every slate, what its offers are tallied under, with the shopper."""
    ids = {kind: getattr(slates, kind).tolist() for kind in KINDS if kind != "category"}
    num_slates, num_slots, _ = slates.category.shape
    offers: list[list[dict[str, list[Key]]]] = [
        [{kind: [] for kind in KINDS} for _ in range(num_slots)] for _ in range(num_slates)
    ]
    shopper = slates.shopper.tolist()
    for row, slot, place in slates.category.nonzero().tolist():
        offers[row][slot]["category"].append(("category", shopper[row], place))
    for kind, place_BK in ids.items():
        for row, places in enumerate(place_BK):
            for slot, place in enumerate(places):
                if place >= 0:
                    offers[row][slot][kind].append((kind, shopper[row], place))
    return offers
