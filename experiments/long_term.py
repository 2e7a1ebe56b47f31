"""``python -m experiments.long_term``: does it pay to think of the shopper's next session?

Policies are trained and valued in a true shop whose shoppers come back when they were content, and
in the same shop where nothing that is shown has any effect later; with ``train_in=learned`` they
are trained in the shop that was learned from its log, and valued in the true one. Compared is
revenue a shopper, over all sessions, of the best policy that looks ahead with that of the best
myopic one, on the same shoppers. Myopic is what heeds this page alone, and what looks ahead no
further than the end of the session: to that one, every session ends the episode. Which ones are the
best is decided on the first half of the shoppers, and the difference given is that of the other
half: the best of several on the same shoppers would flatter itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from experiments.asking import budget_of, check_lists, entry_of, fit_within
from experiments.horizon.cell import HORIZONS, SHOPPER, CellSettings, blocks_of
from experiments.values import NUM_BLOCKS
from recgym import metrics, progress
from recgym.build import check_settings
from recgym.cli import check_numbers, command, use_threads
from recgym.errors import UserError
from recgym.files import write_json
from recgym.shops import choose_device
from recgym.stages.model import check_user_model

SCHEMA_VERSION = 1
Blocks = NDArray[np.float64]
Found = dict[str, dict[str, Blocks]]  # of each policy, [S, J] over seeds and blocks


def cells_of(cfg: DictConfig) -> Iterator[CellSettings]:
    """All cells, shop by shop; whatever cannot be used is said before any work."""
    budget: Any = budget_of(cfg)
    path = f"budgets.{cfg.budget}"
    least = {"log_sessions": 100, "epochs": 1, "steps": 1, "num_envs": 1, "shoppers": NUM_BLOCKS}
    if cfg.train_in not in ("true", "learned"):
        raise UserError(f"train_in={cfg.train_in}: expected true or learned, of the two shops.")
    learned = cfg.train_in == "learned"
    checked = {f"{path}.{name}": value for name, value in least.items()}
    check_numbers(cfg, {**checked, "num_slots": 1, "num_sessions": 2, "max_sessions": 2})
    check_lists(cfg, {f"{path}.seeds": int})
    agents = {str(name): _agent(cfg, str(name)) for name in cfg.policies}
    if {_myopic(cfg, name) for name in agents} != {True, False}:
        raise UserError("policies: expected at least one until shopper, and one that is myopic.")
    for long_term in cfg.long_term:
        shop: Any = OmegaConf.create(OmegaConf.to_container(cfg))
        shop.world.long_term, shop.log.num_sessions = bool(long_term), budget.log_sessions
        shop.log.max_sessions = int(cfg.max_sessions) if learned else 1
        fit_within(
            shop.user_model,
            seed=shop.user_model.seed,
            epochs=budget.epochs,
            log_sessions=budget.log_sessions,
        )
        plain: Any = OmegaConf.to_container(shop, resolve=True)
        model = {**plain["user_model"], "num_slots": int(cfg.num_slots)}
        check_user_model(model, int(cfg.num_slots))
        for name, settings in agents.items():
            for seed in budget.seeds:
                yield CellSettings(
                    policy=name,
                    until=str(cfg.policies[name].until),
                    long_term=bool(long_term),
                    learned=learned,
                    settings=settings,
                    seed=int(seed),
                    log=plain["log"],
                    user_model=model,
                    num_slots=int(cfg.num_slots),
                    num_sessions=int(cfg.num_sessions),
                    steps=int(budget.steps),
                    num_envs=int(budget.num_envs),
                    shoppers=int(budget.shoppers),
                )


def _myopic(cfg: DictConfig, name: str) -> bool:
    """Whether a policy looks no further than the session."""
    until = cfg.policies[name].until
    if until not in HORIZONS:
        raise UserError(f"policies.{name}.until={until}: expected one of {', '.join(HORIZONS)}.")
    return bool(until != SHOPPER)


def _agent(cfg: DictConfig, name: str) -> dict[str, Any]:
    """Settings of a policy's agent, at its own discount."""
    asked = cfg.policies[name]
    settings: Any = OmegaConf.to_container(entry_of("agent", asked.agent, f"policies.{name}.agent"))
    if asked.gamma is not None:
        settings["gamma"] = float(asked.gamma)
    check_settings(f"policies.{name}", settings)
    return dict(settings)


def verdict(found: Found, myopic: dict[str, bool]) -> dict[str, Any]:
    """Who is best of those that look ahead and of the myopic ones, and what lies between them."""
    half = NUM_BLOCKS // 2

    def best(wanted: bool) -> str:
        names = [name for name in found if myopic[name] is wanted]
        return max(names, key=lambda name: float(found[name]["revenue"][:, :half].mean()))

    ahead, short = best(False), best(True)
    first, second = (found[name]["revenue"][:, half:].ravel() for name in (ahead, short))
    gain = metrics.bootstrapped(
        (torch.from_numpy(first), torch.from_numpy(second)),
        lambda a, b, axis=-1: a.sum(axis) / b.sum(axis) - 1.0,
    )
    rows = {
        name: {column: float(value.mean()) for column, value in columns.items()}
        for name, columns in found.items()
    }
    return {"policies": rows, "best": ahead, "best_myopic": short, "gain": gain.as_dict()}


def table(content: dict[str, Any]) -> str:
    """A row a policy, a pair of columns a shop, and what the best one gains."""
    effects = content["effects"]
    titles = [f"{what}, effect {name}" for name in effects for what in ("revenue", "sessions")]
    lines = [f"| a shopper | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for policy in next(iter(effects.values()))["policies"]:
        rows = [effect["policies"][policy] for effect in effects.values()]
        cells = [f"{row['revenue']:.3f} | {row['sessions']:.2f}" for row in rows]
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    for name, effect in effects.items():
        gain = effect["gain"]
        lines.append(
            f"\neffect {name}: {effect['best']} earns {gain['mean']:+.1%} [{gain['low']:+.1%}, "
            f"{gain['high']:+.1%}] a shopper beside {effect['best_myopic']}, the best myopic one"
        )
    return "\n".join(lines)


@command("long_term")
def main(cfg: DictConfig) -> None:
    """Measure all policies that are missing, then say what looking ahead is worth."""
    use_threads(1)
    cells, device = list(cells_of(cfg)), choose_device(cfg.device)
    folder, begun = Path(cfg.folder), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    measured: dict[str, dict[str, list[dict[str, Blocks]]]] = {}
    for cell in cells:
        of_shop = measured.setdefault("on" if cell.long_term else "off", {})
        blocks = blocks_of(cell, folder, Path(cfg.cache_dir), device)
        of_shop.setdefault(cell.policy, []).append(blocks)
    myopic = {cell.policy: cell.until != SHOPPER for cell in cells}
    effects = {}
    for name, of_shop in measured.items():
        found: Found = {
            policy: {column: np.stack([row[column] for row in rows]) for column in rows[0]}
            for policy, rows in of_shop.items()
        }
        effects[name] = verdict(found, myopic)
    content = {"schema_version": SCHEMA_VERSION, "budget": str(cfg.budget), "effects": effects}
    write_json(folder / "long_term.json", content)
    progress.say("\n" + table(content))
    progress.say(f"\nfiles        {folder / 'long_term.json'}")
    progress.say(f"done in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
