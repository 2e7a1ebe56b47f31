"""Valuing policies on the same shoppers, in the learned shop and in the true one.

``python -m agents.evaluate run=DIR [policy=module:function]`` values the policies of a finished
run, and anyone's, on other seeds and more sessions.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from agents.baselines import Greedy, Popular, Random
from agents.sb3 import PredictPolicy
from agents.table import policy_table
from recgym import metrics, progress
from recgym.build import build, keywords_of
from recgym.cli import check_numbers, command
from recgym.errors import UserError
from recgym.logging_policy import EmptyPages
from recgym.logs.base import Log
from recgym.record import TrueShopLog
from recgym.rollout import rollout
from recgym.shops import choose_device
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.stages import cart_paid, open_reader
from recgym.types import Kind, Observation, Outcome, Policy, Sessions, SessionStats, Split
from recgym.users.lstm import LSTMUserModel
from recgym.users.store import load_model
from recgym.users.training import rows_of
from recgym.worlds.base import TrueShop
from recgym.worlds.truth import elasticity, oracle_spec

SEED_BASE = 1 << 40  # of evaluation's shoppers, above those of any log
REPORTED = (
    "conversion_rate",
    "revenue_per_session",
    "click_through_rate",
    "session_length",
    "average_order_value",
    "cart_rate",
)
INCREMENTAL = "incremental_revenue_per_session"


@dataclass(frozen=True)
class Played:
    """What a policy did on the evaluation's shoppers."""

    stats: SessionStats
    coverage: float  # share of the catalogue shown at least once


def play(
    spec: ObservationSpec, policy: Policy, num_sessions: int, seed: int, device: torch.device
) -> Played:
    """One session each of ``num_sessions`` shoppers, the same ones for every policy."""
    shown_I = torch.zeros(spec.catalog.num_items + 1, dtype=torch.bool, device=device)

    def on_step(_: Tensor, __: SimState, ___: Observation, outcome: Outcome) -> None:
        shown_I[outcome.page.item.flatten() + 1] = True

    seed_B = SEED_BASE + (seed << 32) + torch.arange(num_sessions, device=device)
    stats = rollout(
        spec, policy, seed_B, torch.zeros_like(seed_B), on_step=on_step, progress=progress.advance
    )
    return Played(stats, float(shown_I[1:].float().mean()))


def shop_specs(
    model: LSTMUserModel, world: TrueShop | None, num_slots: int
) -> dict[str, ObservationSpec]:
    """The learned shop and, where it is known, the true one, both read by the same encoder."""
    specs = {
        "learned": ObservationSpec(Simulator(model, encoder=model, num_slots=num_slots), "encoder")
    }
    if world is not None:
        simulator = Simulator(world, encoder=model, num_slots=num_slots)
        specs["true"] = ObservationSpec(simulator, "encoder")
    return specs


def resources(
    model: LSTMUserModel, sessions: Sessions, num_slots: int, seed: int
) -> dict[str, Any]:
    """All that an agent's constructor may ask for by name."""
    spec = shop_specs(model, None, num_slots)["learned"]
    train_B = rows_of(sessions, Split.TRAIN)
    in_train_B = torch.zeros(len(sessions.split), dtype=torch.bool)
    in_train_B[train_B] = True
    length_B = sessions.offset[1:] - sessions.offset[:-1]
    viewed_S = torch.repeat_interleave(in_train_B, length_B)
    viewed_S &= sessions.event.kind == int(Kind.VIEW)
    views_I = torch.bincount(sessions.event.item[viewed_S], minlength=model.catalog.num_items)
    return {
        "model": model,
        "user_model": model,
        "num_features": spec.num_features,
        "num_items": model.catalog.num_items,
        "num_slots": num_slots,
        "views_I": views_I,
        "cart_paid": cart_paid(sessions),
        "seed": seed,
    }


def make_agent(settings: Any, offered: dict[str, Any]) -> Any:
    """The agent of a ``conf/agent`` entry, given those of ``offered`` that it asks for."""
    wanted = keywords_of(settings)
    return build(settings, **{k: v for k, v in offered.items() if k in wanted})


def honest_policies(offered: dict[str, Any]) -> dict[str, Policy]:
    """The baselines of every table."""
    num_slots = offered["num_slots"]
    return {
        "nothing": EmptyPages(num_slots),
        "random": Random(num_slots=num_slots),
        "popular": Popular(offered["views_I"], num_slots=num_slots),
        "greedy": Greedy(offered["model"], num_slots=num_slots, cart_paid=offered["cart_paid"]),
    }


def value(
    specs: dict[str, ObservationSpec],
    policies: dict[str, Policy],
    *,
    num_sessions: int,
    seed: int,
    device: torch.device,
    oracle: tuple[ObservationSpec, Policy] | None = None,
) -> dict[str, dict[str, Played]]:
    """Every policy in every shop: shop, then policy, then what it did."""
    played: dict[str, dict[str, Played]] = {}
    for shop, spec in specs.items():
        played[shop] = {
            name: play(spec, policy, num_sessions, seed, device)
            for name, policy in policies.items()
        }
    if oracle is not None:
        played["true"]["oracle"] = play(*oracle, num_sessions, seed, device)
    return played


def oracle_of(world: TrueShop, offered: dict[str, Any]) -> tuple[ObservationSpec, Policy]:
    """Greedy with the true shop's own probabilities and state: a myopic ceiling."""
    num_slots = offered["num_slots"]
    policy = Greedy(world, num_slots=num_slots, cart_paid=offered["cart_paid"])
    return oracle_spec(world, num_slots), policy


def summarise(played: dict[str, dict[str, Played]], agent: str, seed: int) -> dict[str, Any]:
    """Values, paired differences and what they say of the learned shop; undefined is None."""
    shops = {shop: _values(runs, seed) for shop, runs in played.items()}
    names = list(dict.fromkeys(name for runs in played.values() for name in runs))
    policies = {
        name: {shop: shops.get(shop, {}).get(name) for shop in ("learned", "true")}
        for name in names
    }
    summary: dict[str, Any] = {
        "policies": policies,
        "differences": {shop: _differences(runs, seed) for shop, runs in played.items()},
    }
    if "true" not in played:
        nothing = ("kendall_tau", "exploitation_gap", "exploitation_gap_revenue", "regret",
                   "headroom", "headroom_share")  # fmt: skip
        return {**summary, **dict.fromkeys(nothing)}
    return {**summary, **_verdict(shops, agent)}


def _values(runs: dict[str, Played], seed: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, run in runs.items():
        row: dict[str, Any] = {m: metrics.estimate(run.stats, m, seed).as_dict() for m in REPORTED}
        gain = metrics.incremental_revenue(run.stats, runs["nothing"].stats, seed)
        row[INCREMENTAL] = gain.as_dict()
        row["coverage"] = metrics.Estimate(run.coverage, None, None).as_dict()
        values[name] = row
    return values


def _differences(runs: dict[str, Played], seed: int) -> dict[str, Any]:
    """Metric of A minus that of B on the same shoppers, for every pair A after B in the table."""
    result: dict[str, Any] = {}
    names = list(runs)
    for position, a in enumerate(names):
        for b in names[:position]:
            pair = {
                m: metrics.difference(runs[a].stats, runs[b].stats, m, seed).as_dict()
                for m in ("conversion_rate", "revenue_per_session")
            }
            # both stand above the same policy of empty pages, which cancels
            pair[INCREMENTAL] = pair["revenue_per_session"]
            result.setdefault(a, {})[b] = pair
    return result


def _verdict(shops: dict[str, dict[str, Any]], agent: str) -> dict[str, float | None]:
    """Does the learned shop rank as the truth does, and does it overstate?"""

    def mean(shop: str, name: str, metric: str) -> float:
        return float(shops[shop][name][metric]["mean"])

    names = [name for name in shops["learned"] if name in shops["true"]]
    claimed = [mean("learned", name, INCREMENTAL) for name in names]
    truth = [mean("true", name, INCREMENTAL) for name in names]
    pick = truth[claimed.index(max(claimed))]
    oracle = mean("true", "oracle", "revenue_per_session")
    logging = mean("true", "logging", "revenue_per_session") if "logging" in shops["true"] else None
    earned = mean("true", agent, "revenue_per_session")

    def gap(metric: str) -> float | None:
        true = mean("true", agent, metric)
        return mean("learned", agent, metric) / true - 1.0 if true > 0 else None

    return {
        "kendall_tau": metrics.kendall_tau(claimed, truth),
        "regret": (max(truth) - pick) / max(truth) if max(truth) > 0 else None,
        "exploitation_gap": gap(INCREMENTAL),
        "exploitation_gap_revenue": gap("revenue_per_session"),
        "headroom": oracle / logging - 1.0 if logging else None,
        "headroom_share": (earned - logging) / (oracle - logging) if logging else None,
    }


def true_elasticity(world: TrueShop, policy: Policy, num_slots: int) -> float:
    """The true shop's price elasticity under its logging policy, for the log's card."""
    return elasticity(world, policy, num_slots=num_slots, num_sessions=2000, seed=0)


def true_side(reader: Any, device: torch.device) -> tuple[TrueShop | None, Policy | None]:
    """The true shop behind a log and its logging policy, where there is one."""
    if not isinstance(reader, TrueShopLog):
        return None, None
    world = reader.true_shop(str(device))
    return world, reader.logging_policy(world)


def foreign_policy(name: str) -> Policy:
    """Anyone's policy as ``module:name``.

    A function of an observation that gives items [N, K], or an object (or a class or function
    without arguments that makes one) with ``act(observation)`` or ``predict(features)``.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(f"policy={name}: expected module:function, as in policy=my_shop:best")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"policy={name} cannot be imported ({error}): expected a module on the Python path or "
            f"in {os.getcwd()} that defines {attribute}"
        ) from error
    if isinstance(found, type):
        found = found()
    if hasattr(found, "act"):
        policy: Policy = found
        return policy
    if hasattr(found, "predict"):
        return PredictPolicy(found)
    if callable(found):
        return _Function(found)
    raise UserError(f"policy={name} is no policy: expected a function of an observation, or act()")


class _Function:
    """A function of an observation as a policy."""

    def __init__(self, function: Callable[[Observation], Tensor]) -> None:
        self.function = function

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """What the function says, [N, K]."""
        return torch.as_tensor(self.function(observation))


@dataclass(frozen=True)
class Run:
    """A finished run, opened again."""

    settings: DictConfig
    summary: dict[str, Any]
    model: LSTMUserModel
    log: Log
    reader: Any
    agent: Any
    offered: dict[str, Any]


def open_run(folder: Path, device: torch.device) -> Run:
    """Open what ``agents.train`` left in a run folder."""
    if not (folder / "summary.json").is_file():
        raise UserError(
            f"run={folder} is no finished run (it lacks summary.json): expected the folder that "
            "python -m agents.train printed under 'files'."
        )
    summary = json.loads((folder / "summary.json").read_text())
    settings = OmegaConf.load(folder / "config.yaml")
    assert isinstance(settings, DictConfig)
    from recgym.logs.base import open_log

    plain: Any = OmegaConf.to_container(settings, resolve=True)
    model = load_model(folder / "model", device)
    model.requires_grad_(False)
    log = open_log(summary["log"]["folder"])
    offered = resources(model, log.sessions(), int(plain["num_slots"]), int(plain["seed"]))
    agent = make_agent(plain["agent"], offered)
    if (folder / "agent.pt").is_file():
        agent.load_state_dict(
            torch.load(folder / "agent.pt", map_location=device, weights_only=True)
        )
    return Run(settings, summary, model, log, open_reader(plain["log"]), agent, offered)


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Value the policies of a finished run on fresh shoppers."""
    if cfg.run is None:
        raise UserError(
            "run is missing: set run=DIR, the folder that python -m agents.train printed."
        )
    check_numbers(cfg, {"sessions": 2, "seed": 0})
    device = choose_device(cfg.device)
    begun = time.perf_counter()
    run = open_run(Path(cfg.run), device)
    name = run.summary["agent"]
    policies = {**honest_policies(run.offered), name: run.agent}
    if cfg.policy is not None:
        policies[str(cfg.policy).partition(":")[2] or str(cfg.policy)] = foreign_policy(cfg.policy)
    world, logging = true_side(run.reader, device)
    if logging is not None:
        policies["logging"] = logging
    specs = shop_specs(run.model, world, run.offered["num_slots"])
    oracle = oracle_of(world, run.offered) if world is not None else None
    total = cfg.sessions * (len(specs) * len(policies) + (oracle is not None))
    with progress.stage("evaluate", total):
        played = value(
            specs, policies, num_sessions=cfg.sessions, seed=cfg.seed, device=device, oracle=oracle
        )
    summary = {
        "schema_version": run.summary["schema_version"],
        "run": str(cfg.run),
        "sessions": cfg.sessions,
        "seed": cfg.seed,
        **summarise(played, name, cfg.seed),
        "seconds": {"evaluate": time.perf_counter() - begun},
    }
    target = Path(cfg.run) / f"evaluation-seed{cfg.seed}-sessions{cfg.sessions}.json"
    write_json(target, summary)
    progress.say(policy_table(summary))
    progress.say(f"\nfiles        {target}")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside and rename, so that a kill leaves the old file whole."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(json.dumps(content, indent=2) + "\n")
    beside.rename(path)


if __name__ == "__main__":
    main()
