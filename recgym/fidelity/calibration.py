"""Calibration: does what the model calls likely happen as often as it says?

The model reads the *real* sessions step by step (teacher-forced) and forecasts, before each step,
leaving, a click and a checkout, and after each view a cart and a purchase. The error is the mean
distance of forecast and frequency over bins of equally many forecasts (ECE; equal mass, since in
bins of equal width a rare event fills the first bin alone: Nixon et al. 2019, "Measuring
calibration in deep learning", section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from recgym.fidelity.counts import Counts, table
from recgym.fidelity.score import Sides, sample
from recgym.fidelity.trace import Bools, Floats, Ints, Trace
from recgym.fidelity.verdicts import TOO_FEW, UNDEFINED, Row, judged
from recgym.types import After, Kind
from recgym.users import tastes
from recgym.users.likelihood import cart_counts, gather_steps, walk
from recgym.users.passes import WALKED_STEPS
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches

BINS = 10  # few, since a rare event needs many forecasts in each
MOST_ERROR, MOST_SHARE = 0.01, 0.10  # targets on a log: of the ECE, and of the ECE by base rate
STRICTER = 0.5  # against a true shop
LEAST = 50  # times that an event must happen

TITLES = {
    "click": "a click, before each page",
    "cart": "a cart, after each view",
    "purchase": "a purchase at once, after each view",
    "checkout": "a checkout, before each page with a filled cart",
    "leave": "leaving, before each page but the first",
}


@dataclass(frozen=True)
class Forecasts:
    """What the model said and what happened, of one event; n forecasts."""

    owner: Ints  # [n] session
    chance: Floats  # [n]
    happened: Floats  # [n] 0 or 1
    bin: Ints  # [n] in [0, BINS), by rising chance

    def counts(self, value: Floats) -> Counts:
        """The sum of ``value`` and the number of forecasts in each bin."""
        column = np.concatenate([self.bin, self.bin + BINS])
        weight = np.concatenate([value, np.ones(len(value))])
        return Counts(np.tile(self.owner, 2), column, weight, 2 * BINS)

    def curve(self) -> tuple[Floats, Floats]:
        """Mean chance and frequency of each bin that holds a forecast."""
        size = np.bincount(self.bin, minlength=BINS)
        known = size > 0
        sums = [np.bincount(self.bin, x, minlength=BINS) for x in (self.chance, self.happened)]
        return sums[0][known] / size[known], sums[1][known] / size[known]


def forecasts_of(owner: Ints, chance: Floats, happened: Bools) -> Forecasts:
    """Forecasts with their bins of equal mass; ties in the order of the sessions."""
    rank = np.empty(len(chance), dtype=np.int64)
    rank[np.argsort(chance, kind="stable")] = np.arange(len(chance))
    return Forecasts(owner, chance, happened.astype(np.float64), rank * BINS // max(len(rank), 1))


def bin_error(one_HJ: Floats, other_HJ: Floats) -> Floats:
    """ECE: mean distance of the two bin means, by the first one's forecasts in the bin, [H]."""
    size_HJ, others_HJ = one_HJ[..., BINS:], other_HJ[..., BINS:]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(one_HJ[..., :BINS] / size_HJ - other_HJ[..., :BINS] / others_HJ)
        apart = np.where((size_HJ > 0) & (others_HJ > 0), apart, 0.0)
        return np.asarray((apart * size_HJ).sum(-1) / size_HJ.sum(-1))


@torch.no_grad()
def predict(model: SequenceModel, trace: Trace) -> dict[str, Floats]:
    """Probabilities before each step and, of cart and purchase, after its view; each [S]."""
    sessions, device = trace.sessions, model.items.own.device
    found = {name: np.zeros(len(trace.owner)) for name in TITLES}
    cart_S, length_B = cart_counts(sessions), torch.from_numpy(np.diff(trace.offset))
    for part in batches(length_B, WALKED_STEPS, None):
        for moment in walk(model, gather_steps(sessions, cart_S, part).to(device)):
            expected = model.senses.expect(
                model.tables, moment.reading, moment.found, moment.steps.page, moment.steps.event
            )
            share_nM = tastes.at_nodes(moment.reading.share).exp()
            view_n, after_n4 = (share_nM * moment.found.view).sum(-1), expected.after
            clicked_n = expected.slot.sum(-1) * view_n
            step = moment.steps.step.cpu().numpy()
            for name, chance_n in (
                ("click", clicked_n),
                ("cart", after_n4[:, int(After.CART)]),
                ("purchase", after_n4[:, int(After.BUY)]),
                ("checkout", 1.0 - view_n - expected.leave),
                ("leave", expected.leave),
            ):
                found[name][step] = chance_n.double().cpu().numpy()
    return found


def forecasts(model: SequenceModel, trace: Trace) -> dict[str, Forecasts]:
    """The forecasts of each event of `TITLES`."""
    chance = predict(model, trace)
    filled = cart_counts(trace.sessions).numpy() > 0
    cases: dict[str, tuple[Bools, Bools]] = {
        "click": (np.ones(len(trace.owner), bool), trace.clicked),
        "cart": (trace.viewed, trace.after == int(After.CART)),
        "purchase": (trace.viewed, trace.after == int(After.BUY)),
        "checkout": (filled, trace.kind == int(Kind.CHECKOUT)),
        "leave": (trace.number > 0, trace.kind == int(Kind.LEAVE)),
    }
    return {
        name: forecasts_of(trace.owner[among], chance[name][among], happened[among])
        for name, (among, happened) in cases.items()
    }


def row_of(name: str, found: Forecasts, sides: Sides) -> Row:
    """One event's ECE, judged.

    The floor puts the other half's frequencies in the place of the forecasts. Those are as noisy
    as what they are compared with and a forecast is not, hence the root of 2.
    """
    row = Row(f"calibration_{name}", f"calibration of {TITLES[name]}: ECE", UNDEFINED, "percent",
              figure_form="percent")  # fmt: skip
    if name == "click" and not sides.frame.shown:
        return replace(row, note=sides.lacks("impressions"))
    if found.happened.sum() < LEAST:
        return replace(row, note=TOO_FEW)
    ours, theirs = (
        table(found.counts(x), sides.block_real) for x in (found.chance, found.happened)
    )
    samples = sample(bin_error, ours, theirs, sides.plan.paired())
    samples = replace(samples, floor=samples.floor / np.sqrt(2.0))
    base = float(found.happened.mean())
    target = min(MOST_ERROR, MOST_SHARE * base) * (STRICTER if sides.truth else 1.0)
    row = judged(row, samples, target)
    return replace(row, simulated=float(found.chance.mean()), real=base)
