"""Valuing the policies of a finished run, and anyone's, on other seeds and more sessions.

``python -m agents.evaluate run=DIR [policy=module:function]``
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from agents.ads import evaluating
from agents.ads.base import places_ads
from agents.folders import restore
from agents.foreign import foreign_ad_policy, foreign_policy
from agents.judging import judge, shops_of
from agents.seeds import policies
from agents.table import policy_table
from agents.valuing import honest_policies, make_agent, resources, true_side
from recgym import progress
from recgym.cli import check_numbers, command
from recgym.errors import UserError
from recgym.files import write_json
from recgym.logs.log import Log, open_log
from recgym.runs import read_run, run_folder
from recgym.shops import choose_device
from recgym.stages.log import open_reader
from recgym.users.ensemble import Halves, halves
from recgym.users.sequence import SequenceModel
from recgym.users.store import load_model


@dataclass(frozen=True)
class Run:
    """A finished run, opened again."""

    settings: dict[str, Any]
    summary: dict[str, Any]
    model: SequenceModel
    log: Log
    reader: Any
    agent: Any
    offered: dict[str, Any]
    split: Halves | None  # of an ensemble


def open_run(folder: Path, device: torch.device) -> Run:
    """Open what ``agents.train`` left of a recommender."""
    settings, summary = read_run(folder)
    if places_ads(settings["agent"]):
        raise UserError(
            f"run={folder} placed ads, and what is asked is about recommenders alone: expected a "
            "run of env=recommend; python -m agents.evaluate values this one anew."
        )
    model = load_model(folder / "model", device)
    model.requires_grad_(False)
    log = open_log(summary["log"]["folder"])
    offered = resources(
        model,
        log.sessions(),
        int(settings["num_slots"]),
        int(settings["seed"]),
        int(settings["env"].get("num_sessions", 1)),  # that runs of earlier versions lack
    )
    agent = make_agent(settings["agent"], offered)
    restore(agent, folder, device)
    places = sorted((folder / "members").glob("*"), key=lambda place: int(place.name))
    split = halves([load_model(place, device) for place in places])
    reader = open_reader(settings["log"])
    return Run(settings, summary, model, log, reader, agent, offered, split)


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Value the policies of a finished run on fresh shoppers."""
    folder = run_folder(cfg)
    check_numbers(cfg, {"sessions": 2, "seed": 0})
    device = choose_device(cfg.device)
    target = folder / f"evaluation-seed{cfg.seed}-sessions{cfg.sessions}.json"
    settings, kept = read_run(folder)
    if places_ads(settings["agent"]):
        evaluating.evaluate(
            folder, settings, kept, target,
            sessions=int(cfg.sessions), seed=int(cfg.seed), device=device,
            others={} if cfg.policy is None else {_name(cfg.policy): foreign_ad_policy(cfg.policy)},
        )  # fmt: skip
    else:
        _recommender(cfg, folder, target, device)
    progress.say(f"\nfiles        {target}")


def _name(policy: Any) -> str:
    return str(policy).partition(":")[2] or str(policy)


def _recommender(cfg: DictConfig, folder: Path, target: Path, device: torch.device) -> None:
    begun = time.perf_counter()
    run = open_run(folder, device)
    name = run.summary["agent"]
    report = run.summary["user_model"]
    world, logging = true_side(run.reader, device, int(run.settings["num_slots"]))
    shops = shops_of(
        run.model, folder / "model", report, run.settings, run.offered, world, logging, run.split
    )
    valued = {**honest_policies(run.offered, shops.replayed), **policies(run.agent, name)}
    if cfg.policy is not None:
        valued[_name(cfg.policy)] = foreign_policy(cfg.policy)
    summary = {
        "schema_version": run.summary["schema_version"],
        "run": str(cfg.run),
        "sessions": cfg.sessions,
        "seed": cfg.seed,
        **judge(shops, valued, name, num_shoppers=cfg.sessions, seed=cfg.seed),
        "seconds": {"evaluate": time.perf_counter() - begun},
    }
    write_json(target, summary)
    progress.say(policy_table(summary))
    if shops.assumptions:
        progress.say(f"\nassumed: {shops.assumptions['sentence']}")


if __name__ == "__main__":
    main()
