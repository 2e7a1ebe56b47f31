"""``python -m experiments.coupons data=DIR``: is a placed offer used, by position and price?

The response to placed offers (`recgym.users.offers`) is fitted to a shop's coupon slates and
foretells the later week, whose answers it does not see; beside it the base rate of each slot and
gradient boosting on the same features. ROC-AUC is within a slot, over its offers of that week:
0.5 for a base rate, by definition. Positions and prices were not drawn by lot: their effects are
those that remain beside the effects of items, kinds of item and shoppers. Where each coupon has one
price throughout, as in the published files, the price's effect is one between products.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from sklearn.metrics import log_loss
from torch import Tensor

from experiments.coupon_boosting import boosted, choose_boosting
from experiments.coupon_scores import effects, rankings
from recgym import progress
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.coupons import CouponLog, Coupons
from recgym.users.offer_features import features
from recgym.users.offers import Fold, OfferModel, choose_spread, fit, folds_of, sizes_of

SCHEMA_VERSION = 1
MODEL, BOOSTING, BASE_RATE = "offer model", "gradient boosting", "base rate of the slot"
FREE = "sign left free"


def report(log: CouponLog, cfg: DictConfig, spreads: list[float]) -> dict[str, Any]:
    """All figures of the later week and of the effects."""
    slates, seed = log.slates, int(cfg.seed)
    known_B = ~slates.held_out
    x_BKF = features(slates, known_B)
    whole = Fold(slates.lanes(known_B), x_BKF[known_B], slates.lanes(~known_B), x_BKF[~known_B])
    folds = list(folds_of(whole.before, int(cfg.folds)))
    sizes = sizes_of(slates)
    spread, losses = choose_spread(folds, sizes, spreads)
    models = {}
    for title, free in ((MODEL, False), (FREE, True)):
        model = models[title] = OfferModel(sizes, slates.item.shape[1], free)
        model.settle(whole.before, whole.x_before)
        fit(whole.before, whole.x_before, model, spread)
    settings = choose_boosting(folds, seed)
    with torch.no_grad():
        chance_BK = models[MODEL](whole.week, whole.x_week).sigmoid()
    rate_K = whole.before.used.double().mean(0)
    chances = {
        MODEL: chance_BK,
        BOOSTING: boosted(whole, settings, seed),
        BASE_RATE: rate_K.expand_as(chance_BK),
    }
    return {
        "rows": log.rows,
        "orders": {"learned from": len(whole.before.used), "held out": len(whole.week.used)},
        "spread": dataclasses.asdict(spread),
        "folds": {"nats": losses[spread], "worst_nats": max(losses.values())},
        "boosting": settings,
        "used": {
            "learned from": rate_K.tolist(),
            "held out": whole.week.used.double().mean(0).tolist(),
            **{name: chance.mean(0).tolist() for name, chance in chances.items()},
        },
        "nats": {name: _nats(whole.week.used, chance) for name, chance in chances.items()},
        "auc": rankings(whole.week, chances, int(cfg.resamples), seed),
        "odds": effects(models, whole.before, whole.x_before, spread, int(cfg.refits), seed),
    }


def _nats(used_BK: Tensor, chance_BK: Tensor) -> float:
    return float(log_loss(used_BK.flatten().numpy(), chance_BK.flatten().numpy()))


def table(content: dict[str, Any]) -> str:
    """ROC-AUC by slot, then odds ratios, each with its 95 % interval."""
    num_slots = len(content["used"]["held out"])
    titles = [*(f"slot {k + 1}" for k in range(num_slots)), "mean", "nats an offer"]
    lines = [f"| ROC-AUC | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, row in content["auc"].items():
        cells = [_cell(estimate) for estimate in (*row["slots"], row["mean"])]
        nats = content["nats"].get(name)
        lines.append(f"| {name} | {' | '.join(cells)} | {'-' if nats is None else f'{nats:.4f}'} |")
    lines += ["", "| share used | " + " | ".join(titles[:num_slots]) + " |"]
    lines.append("|---" * (num_slots + 1) + "|")
    for name, row in content["used"].items():
        lines.append(f"| {name} | {' | '.join(f'{share:.3f}' for share in row)} |")
    lines += ["", "| odds of use | times |", "|---|---|"]
    lines += [f"| {name} | {_cell(estimate)} |" for name, estimate in content["odds"].items()]
    return "\n".join(lines)


def _cell(estimate: dict[str, Any]) -> str:
    if estimate["low"] is None:
        return f"{estimate['mean']:.3f}"
    return "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


def spreads_of(cfg: DictConfig) -> list[float]:
    """Prior standard deviations to choose from.

    Raises:
        UserError: where they are no list of numbers of at least 0.
    """
    given = list(cfg.spreads) if isinstance(cfg.spreads, ListConfig) else []
    if not given or any(type(sd) not in (int, float) or not 0.0 <= sd < math.inf for sd in given):
        raise UserError(
            f"spreads={cfg.spreads}: expected a list of numbers of at least 0, as in [0.1, 0.3]."
        )
    return [float(sd) for sd in given]


@command("coupons")
def main(cfg: DictConfig) -> None:
    """Read, fit, foretell the later week, and leave a JSON file."""
    use_threads(cfg.num_threads)
    check_numbers(cfg, {"folds": 1, "resamples": 1, "refits": 1, "seed": 0})
    spreads = spreads_of(cfg)
    begun = time.perf_counter()
    log = Coupons(path=cfg.data, max_set_aside=cfg.max_set_aside).read()
    for kind, rows in log.rows.items():
        aside = ", ".join(f"{count} {why}" for why, count in rows["set_aside"].items()) or "none"
        progress.say(f"{kind:<12} {rows['in']} rows, {rows['kept']} kept; set aside: {aside}")
    content = {"schema_version": SCHEMA_VERSION, **report(log, cfg, spreads)}
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "coupons.json", content)
    progress.say("\n" + table(content))
    progress.say(f"\nfiles        {folder / 'coupons.json'}")
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
