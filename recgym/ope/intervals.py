"""Intervals of estimates: shoppers are resampled, with all of their sessions."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from recgym.metrics import CONFIDENCE, RESAMPLES, UNDEFINED, Estimate
from recgym.ope.estimators import Parts

MAX_CLUSTERS = 1000  # resampled one by one; more are put together in groups of whole shoppers


def estimate(parts: Parts, cluster_B: Tensor, seed: int = 0) -> Estimate:
    """The estimate with its 95 % interval; undefined where a weight's sum is 0.

    Cluster bootstrap (Davison and Hinkley 1997, "Bootstrap methods and their application", section
    3.8), percentiles. Heavy weights make it too narrow: see `recgym.ope.overlap`.

    Args:
        parts: of each session.
        cluster_B: the shopper of each session, int64.
        seed: of the resampling.
    """
    row_B = cluster_B.unique(return_inverse=True)[1]
    count = int(row_B.max()) + 1
    groups = min(count, MAX_CLUSTERS)
    row_B = torch.div(row_B * groups, count, rounding_mode="floor")
    top_GJ, bottom_GJ = (_grouped(x, row_B, groups) for x in (parts.numerator, parts.denominator))
    if bool((bottom_GJ.sum(0) == 0).any()):
        return UNDEFINED
    mean = float((top_GJ.sum(0) / bottom_GJ.sum(0)).sum())
    times_RG = _times(groups, seed).to(top_GJ)
    found_R = ((times_RG @ top_GJ) / (times_RG @ bottom_GJ)).sum(-1)
    found_R = found_R[found_R.isfinite()]  # a resample may hold no weight at all
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = found_R.quantile(found_R.new_tensor([tail, 1.0 - tail])).tolist()
    return Estimate(mean, low, high)


@functools.lru_cache(maxsize=2)
def _times(groups: int, seed: int) -> Tensor:
    """How often each group is drawn in each resample, [R, G]; one for all estimates of a log."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES))


def _grouped(value_BJ: Tensor, row_B: Tensor, groups: int) -> Tensor:
    sums_GJ = torch.zeros(groups, value_BJ.shape[1], dtype=torch.float64, device=value_BJ.device)
    return sums_GJ.index_add(0, row_B, value_BJ.double())
