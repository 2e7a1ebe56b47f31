"""What a run with ads plays: its learned shop, and every policy in every shop.

For the run that trains and for those that value it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agents.ads import valuing
from agents.ads.front import fronts
from agents.ads.spans import Spans, spans_of
from agents.ads.verdict import summarise
from agents.valuing import SEED_BASE, resources
from recgym import progress
from recgym.ads.stats import AdStats
from recgym.envs.ads import AdCore
from recgym.logs.log import Log
from recgym.users.ad_fit import prepare_ads
from recgym.users.sequence import SequenceModel
from recgym.users.sponsored import AdShoppers, measured


def learned_shop(
    model: SequenceModel,
    log: Log,
    folder: Path,
    env: Mapping[str, Any],
    reader: Any,
    seconds: dict[str, float],
) -> tuple[AdShoppers, dict[str, Any]]:
    """The learned shop's shoppers, whom ads do something to, and where its numbers come from."""
    sessions = log.sessions()
    if sessions.page.sponsored is None:
        progress.say(
            f"ads: the log does not say where ads stood, so what they do is assumed: {env['law']}"
        )
        law = measured(model, env["law"])
        told = {"law": vars(law), "fitted": [], "assumed": sorted(vars(law))}
        return AdShoppers(model, law), told
    with progress.stage("ads", 1.0, seconds):
        fit, _ = prepare_ads(
            model, sessions, folder, carried=getattr(reader, "max_sessions", 1) > 1
        )
    for line in fit.lines():
        progress.say(line)
    estimates = {name: [*each, *each.interval()] for name, each in fit.estimates.items()}
    told = {"law": vars(fit.law), "fitted": estimates, "assumed": fit.assumed()}
    return fit.shoppers(model), told


def offered_to_agents(
    model: SequenceModel,
    log: Log,
    core: AdCore,
    settings: Mapping[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """What the constructor of an agent of ads may ask for by name."""
    return {
        **resources(model, log.sessions(), int(settings["num_slots"]), int(settings["seed"])),
        "num_features": core.platform.num_features,
        "num_option": core.platform.num_option,
        "device": device,
        "load_cap": settings["env"]["load_cap"],
        "take_rate": settings["env"]["weights"]["take_rate"],
    }


@dataclass(frozen=True)
class PlayedAll:
    """Shop, then policy, then what it did."""

    stats: dict[str, dict[str, AdStats]]
    hindsight: dict[str, Any]  # shop, then what it could have had of the agent's requests
    spans: dict[str, dict[str, Spans]]  # empty where an episode is one session


def play_all(
    cores: Mapping[str, AdCore],
    policies: Mapping[str, Any],
    agent: str,
    settings: Mapping[str, Any],
    device: torch.device,
    seconds: dict[str, float],
) -> PlayedAll:
    """Every policy in every shop, on the same shoppers."""
    count, seed = int(settings["evaluation"]["sessions"]), int(settings["evaluation"]["seed"])
    seed_B = SEED_BASE + (seed << 32) + torch.arange(count, device=device)
    several = int(settings["env"]["num_sessions"]) > 1
    played = PlayedAll({}, {}, {})
    with progress.stage("evaluate", count * len(cores) * len(policies), seconds):
        for shop, core in cores.items():
            played.stats[shop] = {}
            for name, policy in policies.items():
                playing = valuing.Recording(policy) if name == agent else policy
                spans = Spans(count, device) if several else None
                on_step = None if spans is None else spans.add
                stats = valuing.play(core.platform, playing, seed_B, core.max_pages, on_step)
                played.stats[shop][name] = stats
                if spans is not None:
                    played.spans.setdefault(shop, {})[name] = spans
                if isinstance(playing, valuing.Recording):
                    played.hindsight[shop] = _hindsight(playing, settings, stats)
    return played


def _hindsight(
    playing: valuing.Recording, settings: Mapping[str, Any], stats: AdStats
) -> dict[str, Any]:
    met = playing.met(settings["env"]["load_cap"], float(stats.impressions.sum()))
    return {
        "share": met.share(),
        "chosen": met.chosen,
        "bound": met.bound.payment,
        "price": met.bound.price,
    }


def judged(played: PlayedAll, agent: str, env: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What the summary of a run says of its policies.

    Args:
        played: see `play_all`.
        agent: that was trained.
        env: settings of ``conf/env``.
        seed: of the bootstrap.
    """
    found = summarise(played.stats, agent, env["weights"], seed)
    spans = {"spans": spans_of(played.spans, seed)} if played.spans else {}
    return {
        "agent": agent,
        "load_cap": env["load_cap"],
        "num_sessions": env["num_sessions"],
        **found,
        "front": fronts(found["policies"], list(played.stats)),
        "hindsight": played.hindsight,
        **spans,
    }
