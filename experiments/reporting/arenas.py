"""Which runs can be compared: those whose policies met the same shoppers in the same shop.

An *arena* is a log, a model fitted on it, and the evaluation's seed and size. Within it every
setting of the sweep that is no seed of training makes a *candidate*, whose runs are its seeds; the
baselines, which each run plays anew, stand in it once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.shoppers import Columns
from experiments.reporting.runs import Run, Sweep, short_names

AGENT, BASELINE, CEILING = "agent", "baseline", "ceiling"
CEILINGS = ("oracle",)  # that see what no site can see
BASELINES = (
    "nothing", "logging", "random", "popular", "greedy",
    "ad_none", "ad_fixed", "ad_greedy", "ad_threshold", "ad_ranking",
)  # fmt: skip
OF_THE_AGENT = ("load_cap", "sales")  # settings of conf/env that change no shop and no metric


@dataclass(frozen=True)
class Played:
    """A policy of one run in one shop."""

    run: Run
    policy: str  # its name in the run's table

    def row(self, shop: str) -> dict[str, Any] | None:
        """Its estimates in the run's summary."""
        found: dict[str, Any] | None = self.run.summary["policies"][self.policy].get(shop)
        return found

    def columns(self, shop: str) -> Columns | None:
        """Its shoppers' numbers, where the run kept them."""
        kept = self.run.shoppers
        return None if kept is None else kept.columns(shop, self.policy)


@dataclass(frozen=True)
class Candidate:
    """A policy that is compared: with a run for each seed of its training."""

    name: str
    kind: str  # AGENT, BASELINE or CEILING
    seeds: tuple[Played, ...]
    values: tuple[tuple[str, str], ...] = ()  # of the swept settings


@dataclass(frozen=True)
class Arena:
    """Candidates that met the same shoppers."""

    title: str  # what sets it apart from other arenas; empty where there is one
    runs: tuple[Run, ...]
    candidates: tuple[Candidate, ...]
    shops: tuple[str, ...]  # learned, scored?, true?
    paired: bool  # whether all runs kept their shoppers' numbers, of the same shoppers

    @property
    def ads(self) -> bool:
        """Whether its pages hold ads."""
        return self.runs[0].ads

    @property
    def deciding(self) -> str:
        """The shop that is believed: the true one, else the half that no agent trained in."""
        return next(shop for shop in ("true", "scored", "learned") if shop in self.shops)

    @property
    def nothing(self) -> str:
        """The policy that lifts are counted from."""
        return "ad_none" if self.ads else "nothing"

    @property
    def sessions_each(self) -> int:
        """Of a shopper at most."""
        return int(self.runs[0].summary.get("num_sessions", 1))

    @property
    def unit(self) -> str:
        """What money is counted by."""
        return "shopper" if self.ads or self.sessions_each > 1 else "session"

    @property
    def num_shoppers(self) -> int:
        """Of each policy and shop."""
        return int(self.runs[0].settings["evaluation"]["sessions"])


def arenas_of(sweep: Sweep) -> list[Arena]:
    """The arenas of a sweep, in the order of its jobs."""
    groups: dict[str, list[Run]] = {}
    for run in sweep.runs:
        groups.setdefault(_key(run), []).append(run)
    apart = [key for key in sweep.swept if key != "agent" and _constant_within(key, groups)]
    apart = apart if len(groups) > 1 else []
    names = short_names(sweep.swept)
    found = []
    for number, runs in enumerate(groups.values(), 1):
        said = [f"{names[key]}={runs[0].overrides.get(key, 'default')}" for key in apart]
        title = (", ".join(said) or f"shop {number}") if len(groups) > 1 else ""
        within = [key for key in sweep.swept if key not in (*apart, "agent")]
        found.append(_arena(title, runs, within, names))
    return found


def _key(run: Run) -> str:
    """What must be the same for shops and shoppers to be the same."""
    settings = run.settings
    env = {k: v for k, v in (settings.get("env") or {}).items() if k not in OF_THE_AGENT}
    shown = (settings.get("num_slots"), settings.get("user_model"), settings["evaluation"])
    return json.dumps([env, *shown, Path(run.summary["log"]["folder"]).name], sort_keys=True)


def _constant_within(key: str, groups: dict[str, list[Run]]) -> bool:
    values = [{run.overrides.get(key) for run in runs} for runs in groups.values()]
    return all(len(each) == 1 for each in values) and len(set.union(*values)) > 1


def _arena(title: str, runs: list[Run], within: list[str], names: dict[str, str]) -> Arena:
    baselines: dict[str, Candidate] = {}
    agents: dict[tuple[str, tuple[tuple[str, str], ...]], list[Played]] = {}
    for run in runs:
        values = tuple((names[key], run.overrides.get(key, "default")) for key in within)
        for policy in run.summary["policies"]:
            if policy in BASELINES or policy in CEILINGS:
                kind = CEILING if policy in CEILINGS else BASELINE
                baselines.setdefault(policy, Candidate(policy, kind, (Played(run, policy),)))
            elif run.own(policy):
                agents.setdefault((run.agent, values), []).append(Played(run, policy))
    candidates = [*baselines.values()]
    for (agent, values), seeds in agents.items():
        label = ", ".join([agent, *(f"{key}={_brief(value)}" for key, value in values)])
        candidates.append(Candidate(label, AGENT, tuple(seeds), values))
    shops = tuple(
        shop
        for shop in ("learned", "scored", "true")
        if all(any(rows.get(shop) for rows in run.summary["policies"].values()) for run in runs)
    )
    return Arena(title, tuple(runs), tuple(candidates), shops, _same_shoppers(runs))


def _same_shoppers(runs: list[Run]) -> bool:
    """Whether pairs can be made: by the files' own words, and by a baseline that all runs played.

    A policy that draws nothing must have sold the very same to the very same shoppers.
    """
    kept = [run.shoppers for run in runs]
    if any(one is None for one in kept):
        return False
    first, *others = [one for one in kept if one is not None]
    if any(one.meta != first.meta for one in others):
        return False
    for shop in sorted({key.partition("/")[0] for key in first.keys}):
        for name in ("nothing", "ad_none"):
            mine = first.columns(shop, name)
            for one in others:
                theirs = one.columns(shop, name)
                if mine and theirs and not np.array_equal(theirs["revenue"], mine["revenue"]):
                    return False
    return True


def _brief(value: str) -> str:
    """A swept value for a label: a number to four digits."""
    try:
        return value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    except ValueError:
        return value
