"""Learning curves from the event files: the interquartile mean over seeds, with its band.

Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice", section
4.3: the mean of the middle half of the seeds (below four seeds that is the plain mean), and a 95 %
bootstrap interval over seeds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from experiments.reporting.arenas import AGENT, Candidate

Floats = NDArray[np.float64]

TAGS = {
    "train/reward": "reward a page while training",
    "train/orders_per_page": "orders a page while training",
}
POINTS = 40  # of a curve: what is logged between two of them is averaged
RESAMPLES = 1000
ONE_OF_EACH = {"scalars": 0, "tensors": 1, "images": 1, "histograms": 1, "audio": 1}  # 0: all


@dataclass(frozen=True)
class Curve:
    """Of one candidate; each [P]."""

    step: Floats
    middle: Floats
    low: Floats
    high: Floats
    num_seeds: int


def scalars(folder: Path, tags: Mapping[str, str]) -> dict[str, tuple[Floats, Floats]]:
    """Steps and values of each tag that a run logged."""
    logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it tells of each file's end
    events = EventAccumulator(str(folder), size_guidance=ONE_OF_EACH)
    events.Reload()
    known = set(events.Tags()["scalars"])
    found = {}
    for tag in known.intersection(tags):
        points = events.Scalars(tag)
        found[tag] = (
            np.array([point.step for point in points], dtype=np.float64),
            np.array([point.value for point in points], dtype=np.float64),
        )
    return found


def curves_of(candidates: tuple[Candidate, ...]) -> dict[str, dict[str, Curve]]:
    """Tag, then candidate; of those that were trained."""
    found: dict[str, dict[str, Curve]] = {tag: {} for tag in TAGS}
    for candidate in candidates:
        if candidate.kind != AGENT:
            continue
        folders = dict.fromkeys(seed.run.folder for seed in candidate.seeds)
        logged = [scalars(folder, TAGS) for folder in folders]
        for tag in TAGS:
            parts = [one[tag] for one in logged if len(one.get(tag, ((), ()))[0]) > 1]
            if parts:
                found[tag][candidate.name] = curve_of(parts)
    return {tag: curves for tag, curves in found.items() if curves}


def curve_of(parts: list[tuple[Floats, Floats]]) -> Curve:
    """One curve of several seeds, on common steps as far as all of them got."""
    last = min(step[-1] for step, _ in parts)
    first = max(step[0] for step, _ in parts)
    count = min(POINTS, *(len(step) for step, _ in parts))
    edge = np.linspace(first, last, count + 1)
    value_SP = np.stack([_binned(step, value, edge) for step, value in parts])
    middle = iqm(value_SP)
    low, high = band(value_SP)
    return Curve(0.5 * (edge[1:] + edge[:-1]), middle, low, high, len(parts))


def iqm(value_SP: Floats, axis: int = 0) -> Floats:
    """The mean of the middle half over an axis."""
    return np.asarray(stats.trim_mean(value_SP, 0.25, axis=axis))


def band(value_SP: Floats) -> tuple[Floats, Floats]:
    """The bootstrap interval of the interquartile mean over seeds; none of one seed."""
    if len(value_SP) == 1:
        return value_SP[0], value_SP[0]
    found = stats.bootstrap(
        (value_SP,), iqm, axis=0, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def _binned(step: Floats, value: Floats, edge: Floats) -> Floats:
    """Means between edges; where nothing was logged, the line through the neighbours."""
    place = np.clip(np.searchsorted(edge, step, side="right") - 1, 0, len(edge) - 2)
    inside = (step >= edge[0]) & (step <= edge[-1])
    size = np.bincount(place[inside], minlength=len(edge) - 1)
    total = np.bincount(place[inside], value[inside], minlength=len(edge) - 1)
    middle, known = 0.5 * (edge[1:] + edge[:-1]), size > 0
    return np.interp(middle, middle[known], total[known] / size[known])
