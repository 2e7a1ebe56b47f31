"""All that a summary says of policies, for the run that trains and for those that come later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.cases import Case, play_range
from agents.valuing import Played, seeing, shop_specs, value
from agents.verdict import summarise
from recgym import progress
from recgym.confounding import is_confounded
from recgym.types import Policy
from recgym.users.assumed import AssumedRange, assumed_range
from recgym.users.ensemble import Halves
from recgym.users.sequence import SequenceModel
from recgym.worlds.base import TrueShop


@dataclass(frozen=True)
class Shops:
    """What policies are valued in: the learned shop, and the true one where it is known."""

    model: SequenceModel
    folder: Path  # of the model
    offered: dict[str, Any]  # see `agents.valuing.resources`
    world: TrueShop | None
    logging: Policy | None  # that filled the log's pages, where it is known
    assumptions: dict[str, Any] | None  # of the report; None where the log says what was shown
    over: AssumedRange | None  # the assumptions that lifts are then given over
    split: Halves | None = None  # of an ensemble, to train and to score in

    @property
    def replayed(self) -> Policy | None:
        """The logging policy, where a learned shop can play it too."""
        return None if self.assumptions or is_confounded(self.logging) else self.logging


def shops_of(
    model: SequenceModel,
    folder: Path,
    report: Mapping[str, Any],
    settings: Mapping[str, Any],
    offered: dict[str, Any],
    world: TrueShop | None,
    logging: Policy | None,
    split: Halves | None = None,
) -> Shops:
    """The shops of a run, given the report of its fit and its settings as plain data."""
    said, over = report.get("assumptions"), None
    if said:
        over = assumed_range(settings["user_model"]["assumptions"], int(settings["num_slots"]))
    return Shops(model, folder, offered, world, logging, said, over, split)


def judge(
    shops: Shops,
    policies: dict[str, Policy],
    agent: str,
    *,
    num_shoppers: int,
    seed: int,
    seconds: dict[str, float] | None = None,
    kept: dict[str, dict[str, Played]] | None = None,
) -> dict[str, Any]:
    """Values, differences and verdict of the policies, ``agent`` being the one that was trained.

    ``kept`` takes in what every policy did, by shop.
    """
    num_slots, num_sessions = shops.offered["num_slots"], shops.offered["num_sessions"]
    specs = shop_specs(shops.model, shops.world, num_slots, shops.split, num_sessions)
    only_true = seeing(shops.world, shops.logging, shops.offered)
    device = shops.model.items.own.device
    total = num_shoppers * (len(specs) * len(policies) + len(only_true))
    with progress.stage("evaluate", total, seconds):
        played = value(
            specs,
            policies,
            num_shoppers=num_shoppers,
            seed=seed,
            device=device,
            only_true=only_true,
        )
    if kept is not None:
        kept.update(played)
    cases: list[Case] = []
    if shops.assumptions and shops.over:
        base = Case(shops.assumptions["rho"], shops.assumptions["seed"], played["learned"])
        cases = play_range(
            shops.model, shops.folder, policies, base, shops.over,
            num_shoppers=num_shoppers, num_sessions=num_sessions, seed=seed, seconds=seconds,
        )  # fmt: skip
    return summarise(played, agent, seed, cases, num_sessions)
