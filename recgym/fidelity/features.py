"""What a discriminator reads of a session: some forty features, or the raw sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recgym.fidelity.counts import NUM_TYPES, event_types, lags
from recgym.fidelity.frame import Frame
from recgym.fidelity.trace import Bools, Floats, Trace
from recgym.types import After, Kind

LONGEST_SEQUENCE = 30  # steps that the sequence discriminator reads
NO_STEP = 200.0  # stands for the place of what never happens
NUM_MARKS = 5  # numbers of a step in `sequences`


class _By:
    """Sums, extremes and the like over each session's marked steps, each [B]."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def count(self, marked_S: Bools) -> Floats:
        return np.bincount(
            self.trace.owner[marked_S], minlength=self.trace.num_sessions
        ).astype(np.float64)  # fmt: skip

    def total(self, value_S: Any, marked_S: Bools) -> Floats:
        owner = self.trace.owner[marked_S]
        found = np.bincount(owner, value_S[marked_S], minlength=self.trace.num_sessions)
        return np.asarray(found, dtype=np.float64)

    def moments(self, value_S: Any, marked_S: Bools) -> list[Floats]:
        """Mean, standard deviation, least, most, first and last; NaN where nothing is marked."""
        size = self.count(marked_S)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.total(value_S, marked_S) / size
            spread = self.total(value_S**2, marked_S) / size - mean**2
        owner, value = self.trace.owner[marked_S], value_S[marked_S]
        least, most = np.full(len(size), np.inf), np.full(len(size), -np.inf)
        np.minimum.at(least, owner, value)
        np.maximum.at(most, owner, value)
        first, last = np.full(len(size), np.nan), np.full(len(size), np.nan)
        first[owner[::-1]] = value[::-1]
        last[owner] = value
        columns = [mean, np.sqrt(np.maximum(spread, 0.0)), least, most, first, last]
        return [np.where(size > 0, column, np.nan) for column in columns]

    def first_place(self, marked_S: Bools) -> Floats:
        """Page of the first marked step, from 0."""
        found = np.full(self.trace.num_sessions, NO_STEP)
        found[self.trace.owner[marked_S][::-1]] = self.trace.number[marked_S][::-1]
        return found

    def distinct(self, value_S: Any, marked_S: Bools) -> Floats:
        """Different values."""
        size = int(value_S.max()) + 2
        pair = np.unique(self.trace.owner[marked_S] * size + value_S[marked_S])
        return np.bincount(pair // size, minlength=self.trace.num_sessions).astype(np.float64)


def session_features(trace: Trace, frame: Frame) -> dict[str, Floats]:
    """Features by name, each [B]; NaN where a session has none.

    Who comes and when is left out: the learned shop draws both from the training period, so that
    hour and day would tell the sides apart and say nothing of how shoppers behave.
    """
    by, viewed = _By(trace), trace.viewed
    category = frame.category[np.maximum(trace.item, 0)]
    found = {**_funnel(by), **_tastes(by, category, frame)}
    names = ("mean", "spread", "least", "most", "first", "last")
    timed = np.isfinite(trace.log_gap)
    gap = np.where(timed, trace.log_gap, 0.0)
    found |= {f"gap_{n}": v for n, v in zip(names, by.moments(gap, timed), strict=True)}
    if frame.priced:
        price = np.log(np.maximum(trace.price, 1e-6))
        found |= {f"price_{n}": v for n, v in zip(names, by.moments(price, viewed), strict=True)}
        found["revenue"] = np.log1p(by.total(trace.paid, np.ones_like(viewed)))
        found["carted_worth"] = np.log1p(by.total(trace.worth, trace.after == int(After.CART)))
    if frame.shown:
        slot = trace.sessions.event.slot.numpy().astype(np.float64)
        found["clicks"] = by.count(trace.clicked)
        found |= dict(
            zip(("slot_mean", "slot_spread"), by.moments(slot, trace.clicked), strict=False)
        )
        found["first_clicked"] = by.first_place(trace.clicked)
    return found


def _funnel(by: _By) -> dict[str, Floats]:
    trace = by.trace
    carted, paid = trace.after == int(After.CART), trace.kind == int(Kind.CHECKOUT)
    first_order = by.first_place(trace.ordered)
    since = trace.viewed & (trace.number > first_order[trace.owner])
    return {
        "pages": by.count(trace.kind != int(Kind.LEAVE)),
        "views": by.count(trace.viewed),
        "favourites": by.count(trace.after == int(After.FAVOURITE)),
        "carts": by.count(carted),
        "buys": by.count(trace.after == int(After.BUY)),
        "checkouts": by.count(paid),
        "first_cart": by.first_place(carted),
        "first_order": first_order,
        "first_checkout": by.first_place(paid),
        "views_after_order": by.count(since),
    }


def _tastes(by: _By, category: Any, frame: Frame) -> dict[str, Floats]:
    trace, viewed = by.trace, by.trace.viewed
    lag = lags(trace)
    stays = np.zeros(len(viewed), bool)
    stays[1:] = viewed[1:] & viewed[:-1] & (category[1:] == category[:-1])
    stays &= trace.number > 0
    fame = frame.fame[np.maximum(trace.item, 0)]
    names = ("mean", "spread", "least", "most", "first", "last")
    return {
        "items": by.distinct(trace.item, viewed),
        "categories": by.distinct(category, viewed),
        "stays": by.count(stays),
        "repeats": by.count(lag > 0),
        "repeats_at_once": by.count(lag == 1),
        "lag": by.moments(lag.astype(np.float64), lag > 0)[0],
        **{f"fame_{n}": v for n, v in zip(names, by.moments(fame, viewed), strict=True)},
    }


def matrix(features: dict[str, Floats]) -> Floats:
    """All features side by side, [B, F]."""
    return np.stack(list(features.values()), 1)


def sequences(trace: Trace, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
    """First steps of each session: codes [B, T, 3], numbers [B, T, NUM_MARKS], steps [B].

    Codes are type, item and category, each from 1 and 0 beyond the end; numbers are log gap,
    whether there is one, log price, fame and whether the item was seen before.
    """
    inside = trace.number < LONGEST_SEQUENCE
    row, place = trace.owner[inside], trace.number[inside]
    item = trace.item[inside]
    shape = (trace.num_sessions, LONGEST_SEQUENCE)
    code = np.zeros((*shape, 3), dtype=np.int64)
    code[row, place, 0] = event_types(trace)[inside] + 1
    code[row, place, 1] = item + 1
    code[row, place, 2] = np.where(item >= 0, frame.category[np.maximum(item, 0)] + 1, 0)
    mark = np.zeros((*shape, NUM_MARKS), dtype=np.float32)
    gap = trace.log_gap[inside]
    mark[row, place, 0] = np.nan_to_num(gap, nan=0.0)
    mark[row, place, 1] = np.isfinite(gap)
    mark[row, place, 2] = np.log(np.maximum(trace.price[inside], 1.0)) * frame.priced
    mark[row, place, 3] = np.where(item >= 0, frame.fame[np.maximum(item, 0)], 0.0)
    mark[row, place, 4] = lags(trace)[inside] > 0
    length = np.minimum(np.diff(trace.offset), LONGEST_SEQUENCE)
    assert int(code[..., 0].max()) <= NUM_TYPES
    return torch.from_numpy(code), torch.from_numpy(mark), torch.from_numpy(length)
