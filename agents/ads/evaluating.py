"""``python -m agents.evaluate`` of a run that placed ads: on other shoppers, and more of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agents.ads import valuing
from agents.ads.playing import judged, learned_shop, offered_to_agents, play_all
from agents.ads.table import ad_table, verdict_lines
from agents.folders import restore
from agents.valuing import make_agent, true_side
from recgym import progress
from recgym.ads.rollout import AdPolicy
from recgym.envs.ads import AdCore
from recgym.files import write_json
from recgym.logs.log import open_log
from recgym.stages.log import open_reader
from recgym.users.sponsored import AdShoppers
from recgym.users.store import load_model


@dataclass(frozen=True)
class AdRun:
    """A finished run that placed ads, opened again."""

    agent: str  # its name
    learned: AdShoppers
    cores: dict[str, AdCore]  # by shop
    policies: dict[str, AdPolicy]  # the rules and the agent
    assumed: str | None  # the sentence on what ads do, where the log says nothing of it


def open_run(
    folder: Path, settings: Mapping[str, Any], summary: Mapping[str, Any], device: torch.device
) -> AdRun:
    """Open what ``agents.train`` left of a policy of ads."""
    env, name = settings["env"], str(summary["agent"])
    model = load_model(folder / "model", device)
    model.requires_grad_(False)
    log, reader = open_log(summary["log"]["folder"]), open_reader(settings["log"])
    world, _ = true_side(reader, device)
    learned, told = learned_shop(model, log, folder / "model", env, reader, {})
    cores = {
        shop: valuing.core_of(it, model, settings)
        for shop, it in valuing.shops(learned, world, env).items()
    }
    offered = offered_to_agents(model, log, cores["learned"], settings, device)
    agent = make_agent(settings["agent"], offered)
    restore(agent, folder, device)
    assumed = None if told["fitted"] else f"what ads do to shoppers, by env.law={env['law']}."
    return AdRun(name, learned, cores, {**valuing.rules(env, offered), name: agent}, assumed)


def evaluate(
    folder: Path,
    settings: Mapping[str, Any],
    summary: Mapping[str, Any],
    target: Path,
    *,
    sessions: int,
    seed: int,
    device: torch.device,
    others: Mapping[str, AdPolicy],
) -> dict[str, Any]:
    """Value the agent, the rules and anyone's policies anew; returns what it also writes.

    Args:
        folder: of the run.
        settings: that it left.
        summary: that it left.
        target: file of the values.
        sessions: shoppers of each policy and shop.
        seed: of the shoppers.
        device: of all tensors.
        others: policies by name, each of which gives the index of an option for each lane.
    """
    begun, run = time.perf_counter(), open_run(folder, settings, summary, device)
    anew = {**settings, "evaluation": {"sessions": sessions, "seed": seed}}
    policies = {**run.policies, **others}
    played = play_all(run.cores, policies, run.agent, anew, device, {})
    found = {
        "schema_version": summary["schema_version"],
        "run": str(folder),
        "sessions": sessions,
        "seed": seed,
        **judged(played, run.agent, settings["env"], seed),
        "seconds": {"evaluate": time.perf_counter() - begun},
    }
    write_json(target, found)
    progress.say(ad_table(found) + "\n")
    for line in verdict_lines(found):
        progress.say(line)
    return found
