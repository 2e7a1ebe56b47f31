"""The on-policy check: does the learned shop, under the logging policy, look like the log?

The first question to a learned shop, before any policy is trained in it: accuracy of the next view
says little about money.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from recgym import metrics, progress
from recgym.logging_policy import EmptyPages, LoggedPages
from recgym.logs.log import Log
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Policy, SessionStats
from recgym.users.base import Shoppers
from recgym.users.sequence import SequenceModel
from recgym.worlds.base import TrueShop

CHECKED = {
    "click_through_rate": "click_through_rate",
    "conversion_rate": "conversion_rate",
    "revenue_per_session": "realised_revenue_per_session",
    "session_length": "session_length",
}
SEED_BASE = 1 << 52  # of the check's shoppers, apart from those of logs, training and evaluation
NUM_SPLITS = 200  # random halves behind the noise floor


@dataclass(frozen=True)
class Reference:
    """What the learned shop is compared with."""

    stats: SessionStats
    source: str  # "true shop" or "held-out log"
    floor: dict[str, float | None]  # 95th percentile of |error| between random halves, or empty
    num_cut: int = 0  # held-out sessions left out, since the log's end cut them off


def play(
    shop: Shoppers, policy: Policy, num_slots: int, num_sessions: int, seed: int
) -> SessionStats:
    """Sessions of fresh shoppers under a policy."""
    spec = ObservationSpec(
        Simulator(shop, num_slots=num_slots, dtype=shop.catalog.price.dtype),
        "history",
    )
    seed_B = SEED_BASE + (seed << 32) + torch.arange(num_sessions)
    return rollout(spec, policy, seed_B, torch.zeros_like(seed_B))


def reference_of_true_shop(
    shop: TrueShop, policy: Policy, num_slots: int, num_sessions: int, seed: int
) -> Reference:
    """Fresh sessions of the true shop under its logging policy."""
    stats = play(shop, policy, num_slots, num_sessions, seed)
    progress.advance(0.08)
    return Reference(stats, "true shop", {})


def reference_of_held_out(log: Log, seed: int) -> Reference:
    """The log's own test period, with the error that it has against itself at that size."""
    row_B, num_cut = log.held_out()
    stats = log.stats().lanes(row_B)
    generator = np.random.default_rng(seed)
    floor: dict[str, float | None] = {}
    for name, metric in CHECKED.items():
        top, bottom = (x.double().numpy() for x in metrics.METRICS[metric](stats))
        errors = []
        for _ in range(NUM_SPLITS):
            half = generator.random(len(top)) < 0.5
            with np.errstate(divide="ignore", invalid="ignore"):
                first = top[half].sum() / bottom[half].sum()
                second = top[~half].sum() / bottom[~half].sum()
                errors.append(abs(first / second - 1.0))
        known = np.isfinite(errors).all() and top.sum() > 0
        floor[name] = float(np.quantile(errors, 0.95)) if known else None
    return Reference(stats, "held-out log", floor, num_cut)


def on_policy_report(
    model: SequenceModel,
    policy: Policy | None,
    num_slots: int,
    reference: Reference,
    num_sessions: int,
    seed: int,
) -> dict[str, Any]:
    """For each checked metric: simulated, reference, relative error, noise floor.

    Without a policy (a log that does not say what was shown) pages do not exist on either side.
    """
    policy = policy or EmptyPages(num_slots)
    simulated = play(model, policy, num_slots, num_sessions, seed)
    progress.advance(0.08)
    rows: dict[str, Any] = {
        "reference": reference.source,
        "sessions": num_sessions,
        "policy": "pages of the log, drawn at random,"
        if isinstance(policy, LoggedPages)
        else "the logging policy",
    }
    rows["sessions_cut"] = reference.num_cut
    for name, metric in CHECKED.items():
        ours = metrics.estimate(simulated, metric, seed)
        theirs = metrics.estimate(reference.stats, metric, seed)
        money_unknown = metric in metrics.MONEY and not model.catalog.priced
        known = ours.mean is not None and theirs.mean not in (None, 0.0) and not money_unknown
        rows[name] = {
            "simulated": ours.as_dict() if known else None,
            "reference": theirs.as_dict() if known else None,
            "error": ours.mean / theirs.mean - 1.0 if known else None,  # type: ignore[operator]
            "noise_floor": reference.floor.get(name),
        }
    return rows
