"""How sure a comparison is: seeds of training are resampled first, then shoppers.

Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8, for two levels
that are crossed: every seed of every policy met the same shoppers, so that one draw of shoppers
serves all of them, and what shoppers have in common drops out of differences. The spread between S
seeds is widened by sqrt(S / (S - 1)), since resampling S values has less variance than what they
came from.

P values are those of Student's t on the difference, its variance the sum of that over shoppers and
those over each policy's seeds, with Satterthwaite's degrees of freedom (1946, "An approximate
distribution of estimates of variance components", equation 17): few seeds leave few. All pairs
together are corrected as in Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

NUM_BLOCKS = 400  # of shoppers, resampled together, as in `recgym.metrics`
RESAMPLES = 4000
TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    mean: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """In other units."""
        return Interval(self.mean * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Draws:
    """A policy's metric, for each seed, and how it might have come out."""

    seed_S: Floats  # of each seed, over all shoppers
    shopper_RS: Floats  # had other shoppers come
    total_R: Floats  # had other seeds been trained too

    @property
    def mean(self) -> float:
        """Over seeds and shoppers."""
        return float(self.seed_S.mean())

    def interval(self) -> Interval:
        """Percentiles of the resamples."""
        return interval(self.mean, self.total_R)

    def minus(self, other: Draws) -> Draws:
        """The difference from a policy whose seeds were not drawn, on the same shoppers."""
        return Draws(
            self.seed_S - other.seed_S.mean(),
            self.shopper_RS - other.shopper_RS.mean(1, keepdims=True),
            self.total_R - other.total_R,
        )


@dataclass(frozen=True)
class Beaten:
    """One policy beside another."""

    difference: Interval  # of the first from the second
    probability: float  # that the first is better
    p: float  # two-sided, of no difference
    holm: float = 1.0  # corrected for all pairs


def interval(mean: float, total_R: Floats) -> Interval:
    """A value and the percentiles of its resamples."""
    low, high = np.quantile(total_R, [TAIL, 1.0 - TAIL])
    return Interval(mean, float(low), float(high))


def blocks(value_SB: Floats) -> Floats:
    """Sums over blocks of shoppers, [S, J]."""
    count = value_SB.shape[1]
    edges = np.linspace(0, count, min(NUM_BLOCKS, count) + 1).astype(int)[:-1]
    return np.asarray(np.add.reduceat(value_SB.astype(np.float64), edges, axis=1))


@functools.lru_cache(maxsize=2)
def shoppers_drawn(num_blocks: int, seed: int) -> Floats:
    """How often each block of shoppers is in each resample, [R, J]."""
    generator = np.random.default_rng(seed)
    even = np.full(num_blocks, 1.0 / num_blocks)
    return generator.multinomial(num_blocks, even, size=RESAMPLES).astype(np.float64)


def drawn(name: str, top_SB: Floats, bottom_SB: Floats, times_RJ: Floats) -> Draws:
    """A ratio of sums over shoppers.

    Args:
        name: of the policy: its seeds are drawn apart from those of others, in any order of them.
        top_SB: numerators of each seed and shopper.
        bottom_SB: denominators.
        times_RJ: of `shoppers_drawn`, the same for all that is compared.
    """
    top_SJ, bottom_SJ = blocks(top_SB), blocks(bottom_SB)
    with np.errstate(divide="ignore", invalid="ignore"):
        seed_S = top_SJ.sum(1) / bottom_SJ.sum(1)
        shopper_RS = (times_RJ @ top_SJ.T) / (times_RJ @ bottom_SJ.T)
    shopper_RS = np.where(np.isfinite(shopper_RS), shopper_RS, seed_S)
    return Draws(seed_S, shopper_RS, with_seeds(name, shopper_RS))


def estimated(name: str, mean_S: Floats, error_S: Floats) -> Draws:
    """Where shoppers' numbers were not kept: normal about each run's own estimate, no pairs."""
    generator = np.random.default_rng([1, zlib.crc32(name.encode())])
    shopper_RS = mean_S + error_S * generator.standard_normal((RESAMPLES, len(mean_S)))
    return Draws(mean_S, shopper_RS, with_seeds(name, shopper_RS))


def with_seeds(name: str, shopper_RS: Floats) -> Floats:
    """Means over resampled seeds, [R]; over the one seed where there is one."""
    num_seeds = shopper_RS.shape[1]
    mean_R = shopper_RS.mean(1)
    if num_seeds == 1:
        return np.asarray(mean_R)
    generator = np.random.default_rng([0, zlib.crc32(name.encode())])
    pick_RS = generator.integers(num_seeds, size=shopper_RS.shape)
    picked_R = np.take_along_axis(shopper_RS, pick_RS, 1).mean(1)
    return np.asarray(mean_R + np.sqrt(num_seeds / (num_seeds - 1)) * (picked_R - mean_R))


def compare(first: Draws, second: Draws) -> Beaten:
    """The first beside the second; one beside itself differs by exactly 0."""
    mean, total_R = first.mean - second.mean, first.total_R - second.total_R
    better = float((total_R > 0).mean() + 0.5 * (total_R == 0).mean())
    over_shoppers = float((first.shopper_RS.mean(1) - second.shopper_RS.mean(1)).var())
    parts = [(over_shoppers, min(NUM_BLOCKS, RESAMPLES) - 1)]
    for one in (first, second):
        if len(one.seed_S) > 1:
            parts.append((float(one.seed_S.var(ddof=1)) / len(one.seed_S), len(one.seed_S) - 1))
    variance = sum(value for value, _ in parts)
    if first is second or variance == 0.0:
        p = 1.0 if mean == 0.0 else 0.0
        return Beaten(interval(mean, total_R), better, p)
    freedom = variance**2 / sum(value**2 / count for value, count in parts)
    p = float(2.0 * stats.t.sf(abs(mean) / np.sqrt(variance), freedom))
    return Beaten(interval(mean, total_R), better, p)


def holm(p: Sequence[float]) -> list[float]:
    """P values corrected for their number, each at most 1 and in the order given."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def all_pairs(found: Mapping[str, Draws]) -> dict[tuple[str, str], Beaten]:
    """Every policy beside every other, both ways, and beside itself; Holm over the pairs."""
    names = list(found)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[:place]]
    one_way = {pair: compare(found[pair[0]], found[pair[1]]) for pair in pairs}
    corrected = dict(zip(pairs, holm([one_way[pair].p for pair in pairs]), strict=True))
    result = {(name, name): compare(found[name], found[name]) for name in names}
    for (a, b), beaten in one_way.items():
        result[a, b] = _with(beaten, corrected[a, b])
        result[b, a] = _with(compare(found[b], found[a]), corrected[a, b])
    return result


def _with(beaten: Beaten, corrected: float) -> Beaten:
    return Beaten(beaten.difference, beaten.probability, beaten.p, corrected)


def best_of(found: Mapping[str, Draws]) -> dict[str, float]:
    """The share of resamples in which each policy is the best; ties are shared."""
    total_PR = np.stack([draws.total_R for draws in found.values()])
    top_PR = (total_PR == total_PR.max(0)).astype(float)
    share_P = (top_PR / top_PR.sum(0)).mean(1)
    return dict(zip(found, share_P.tolist(), strict=True))
