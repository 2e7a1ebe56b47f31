"""Which cells a config asks for; whatever cannot be used is said before any work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agents.ads.base import places_ads
from experiments.asking import budget_of, check_lists, entry_of, fit_within, names_of
from experiments.benchmarking.cell import ORACLE, OURS, SB3, CellSettings
from experiments.benchmarking.sb3 import ONE_ITEM
from experiments.values import NUM_BLOCKS
from recgym.build import check_settings
from recgym.cli import check_numbers
from recgym.errors import UserError
from recgym.stages.model import check_user_model

RANDOM, MYOPIC = "random", "oracle, myopic"  # rows that every table has; the second as a stand-in
CEILING_SEED = 1 << 20  # of the oracle's candidates and of the shoppers that choose among them
NUMBERS = {  # least values of a budget; sessions are valued in blocks, none of which may be empty
    "log_sessions": 100,
    "epochs": 1,
    "steps": 1,
    "num_envs": 1,
    "sessions": NUM_BLOCKS,
    "oracle_times": 0,
}


@dataclass(frozen=True)
class Entrant:
    """An agent in one form of action."""

    row: str
    kind: str
    settings: dict[str, Any]
    num_slots: int


def cells_of(cfg: DictConfig) -> list[CellSettings]:
    """All cells of this budget, shop by shop."""
    budget = budget_of(cfg)
    _check(cfg, f"budgets.{cfg.budget}", budget)
    rows = [e for name in _chosen(cfg) for e in _entrants(cfg, name)]
    if not budget.oracle_times:
        rows.append(Entrant(MYOPIC, ORACLE, {}, int(cfg.num_slots)))
    listed = list(cfg.oracle_agents) if budget.oracle_times else []
    candidates = [_entrants(cfg, name)[0] for name in listed]
    return [
        cell
        for shop in dict.fromkeys(budget.shops)
        for cell in _cells_in(cfg, budget, str(shop), rows, candidates)
    ]


def _check(cfg: DictConfig, path: str, budget: Any) -> None:
    least = {f"{path}.{name}": value for name, value in NUMBERS.items()}
    check_numbers(cfg, {**least, "num_slots": 1, "processes": 1})
    check_lists(cfg, {f"{path}.shops": str, f"{path}.seeds": int, "oracle_agents": str})
    if cfg.agents != "all":
        check_lists(cfg, {"agents": str})
    if cfg.one_item != []:
        check_lists(cfg, {"one_item": str})
    for seed in budget.seeds:
        if seed >= CEILING_SEED:
            raise UserError(f"{path}.seeds holds {seed}: expected numbers below {CEILING_SEED}.")
    known = _known(cfg)
    asked = {
        "agents": [] if cfg.agents == "all" else list(cfg.agents),
        "one_item": list(cfg.one_item),
        "compare_with": [cfg.compare_with],
        "oracle_agents": list(cfg.oracle_agents),
    }
    for key, names in asked.items():
        for name in names:
            if name not in known:
                raise UserError(f"{key}: {name} is unknown: expected names of {', '.join(known)}.")
    fitted: Any = OmegaConf.to_container(cfg.user_model, resolve=True)
    check_user_model(fitted, int(cfg.num_slots))


def _known(cfg: DictConfig) -> list[str]:
    """Our recommenders, then those of Stable-Baselines3."""
    ours = [n for n in names_of("agent") if not places_ads(entry_of("agent", n, "agents"))]
    return [*ours, *(str(name) for name in cfg.sb3)]


def _chosen(cfg: DictConfig) -> list[str]:
    """Names of the agents to run, each once; random and the one to compare with among them."""
    asked = _known(cfg) if cfg.agents == "all" else list(cfg.agents)
    return list(dict.fromkeys([RANDOM, str(cfg.compare_with), *asked]))


def _entrants(cfg: DictConfig, name: str) -> list[Entrant]:
    """The agent on whole pages and, where asked for or where it can do no more, on one slot."""
    of_sb3 = name in cfg.sb3
    entry = cfg.sb3[name] if of_sb3 else entry_of("agent", name, "agents")
    settings: Any = OmegaConf.to_container(entry, resolve=True)
    check_settings(f"sb3.{name}" if of_sb3 else f"agent {name}", settings)
    kind = SB3 if of_sb3 else OURS
    if settings["_target_"] in ONE_ITEM:
        return [Entrant(name, kind, settings, 1)]
    found = [Entrant(name, kind, settings, int(cfg.num_slots))]
    if name in cfg.one_item:
        found.append(Entrant(f"{name}, one item", kind, settings, 1))
    return found


def _cells_in(
    cfg: DictConfig, budget: Any, shop: str, rows: list[Entrant], candidates: list[Entrant]
) -> Iterator[CellSettings]:
    settings = OmegaConf.create(OmegaConf.to_container(cfg))
    assert isinstance(settings, DictConfig)
    settings.world = entry_of("world", shop, f"budgets.{cfg.budget}.shops")
    settings.log.num_sessions = budget.log_sessions
    fit_within(
        settings.user_model,
        seed=settings.user_model.seed,
        epochs=budget.epochs,
        log_sessions=budget.log_sessions,
    )
    plain: Any = OmegaConf.to_container(settings, resolve=True)
    seeds = [int(seed) for seed in dict.fromkeys(budget.seeds)]
    beside, times = [CEILING_SEED, *seeds], int(budget.oracle_times)
    planned = [(one, CEILING_SEED, beside, times) for one in candidates]  # the longest come first
    planned += [(entrant, seed, [seed], 1) for entrant in rows for seed in seeds]
    for entrant, seed, value_seeds, times in planned:
        yield CellSettings(
            shop=shop,
            agent=entrant.row,
            kind=entrant.kind,
            settings=entrant.settings,
            seed=seed,
            value_seeds=tuple(value_seeds),
            ceiling=seed == CEILING_SEED,
            log=plain["log"],
            user_model={**plain["user_model"], "num_slots": int(cfg.num_slots)},
            num_slots=entrant.num_slots,
            steps=int(budget.steps) * times,
            num_envs=int(budget.num_envs),
            sessions=int(budget.sessions),
        )
