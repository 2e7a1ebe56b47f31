"""A finished run opened again: its shops, its policies and its shoppers.

A main may import what it starts (see DESIGN, section 4): agents and the truth behind a true shop
are opened by `agents.evaluate` and `agents.valuing`, and by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from agents import evaluate
from agents.ads import evaluating
from agents.ads.base import places_ads
from agents.foreign import foreign_ad_policy, foreign_policy
from agents.judging import shops_of
from agents.seeds import policies
from agents.valuing import SEED_BASE, honest_policies, seeing, shop_specs, true_side
from recgym.errors import UserError
from recgym.replay.placing import Placing
from recgym.replay.playing import Recommending, Turns
from recgym.runs import read_run
from recgym.users.base import Shoppers


@dataclass(frozen=True)
class Opened:
    """What of a run can be played."""

    folder: Path
    agent: str
    model: Shoppers  # that an explanation asks
    shops: dict[str, Callable[[Any], Turns]]  # by name, how any policy is played there
    policies: dict[str, Any]  # that any of the shops can play
    foreign: Callable[[str], Any]  # anyone's policy by name
    only_true: dict[str, Turns]  # of policies that see the true shop's hidden state
    sessions: int  # of the run's evaluation
    first_seed: int  # of the lane of its first shopper
    assumed: str | None  # the sentence on assumptions, where the log says nothing of pages

    def seed_of(self, shopper: int) -> int:
        """The lane of a shopper.

        Raises:
            UserError: if the evaluation had none of this number.
        """
        whole = isinstance(shopper, int) and not isinstance(shopper, bool)
        if not whole or not 0 <= shopper < self.sessions:
            raise UserError(
                f"shopper={shopper}: expected a whole number from 0 to {self.sessions - 1}, a "
                f"shopper of the evaluation of run={self.folder}."
            )
        return self.first_seed + shopper

    def find(self, shop: str, policy: str) -> Turns:
        """A policy in a shop.

        Raises:
            UserError: if there is no such shop or policy.
        """
        if shop not in self.shops:
            why = (
                " (its log was not written by a true shop)"
                if shop == "true"
                else " (it has no ensemble)"
                if shop == "scored"
                else ""
            )
            raise UserError(
                f"shop={shop} is none of run={self.folder}{why}: expected "
                f"{' or '.join(self.shops)}."
            )
        if policy in self.only_true and (shop == "true" or policy not in self.policies):
            if shop != "true":
                raise UserError(
                    f"policy {policy} looks at the true shop's hidden state: set shop=true."
                )
            return self.only_true[policy]
        if policy in self.policies:
            return self.shops[shop](self.policies[policy])
        if ":" in policy:
            return self.shops[shop](self.foreign(policy))
        known = [*self.policies, *(name for name in self.only_true if name not in self.policies)]
        raise UserError(
            f"policy {policy} is none of run={self.folder}: expected one of {', '.join(known)}, or "
            "anyone's as module:function."
        )


def open_run(folder: Path, device: torch.device) -> Opened:
    """Open what ``agents.train`` left in a run folder.

    Raises:
        UserError: if it is none.
    """
    settings, summary = read_run(folder)
    evaluation = settings["evaluation"]
    first_seed = SEED_BASE + (int(evaluation["seed"]) << 32)
    if places_ads(settings["agent"]):
        placed = evaluating.open_run(folder, settings, summary, device)
        return Opened(
            folder=folder,
            agent=placed.agent,
            model=placed.learned,
            shops={shop: partial(Placing, core.platform) for shop, core in placed.cores.items()},
            policies=placed.policies,
            foreign=foreign_ad_policy,
            only_true={},
            sessions=int(evaluation["sessions"]),
            first_seed=first_seed,
            assumed=placed.assumed,
        )
    run = evaluate.open_run(folder, device)
    world, logging = true_side(run.reader, device)
    report = run.summary["user_model"]
    shops = shops_of(
        run.model, folder / "model", report, run.settings, run.offered, world, logging, run.split
    )
    name = run.summary["agent"]
    specs = shop_specs(
        run.model, world, run.offered["num_slots"], run.split, run.offered["num_sessions"]
    )
    return Opened(
        folder=folder,
        agent=name,
        model=run.model,
        shops={shop: partial(Recommending, spec) for shop, spec in specs.items()},
        policies={**honest_policies(run.offered, shops.replayed), **policies(run.agent, name)},
        foreign=foreign_policy,
        only_true={
            policy: Recommending(*seen)
            for policy, seen in seeing(world, logging, run.offered).items()
        },
        sessions=int(evaluation["sessions"]),
        first_seed=first_seed,
        assumed=shops.assumptions["sentence"] if shops.assumptions else None,
    )
