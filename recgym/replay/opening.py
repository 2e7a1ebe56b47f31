"""A finished run opened again: its shops, its policies and its shoppers.

A main may import what it starts (see DESIGN, section 4): agents and the truth behind a true shop
are opened by `agents.evaluate` and `agents.valuing`, and by nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from agents import evaluate
from agents.ads.base import places_ads
from agents.judging import shops_of
from agents.seeds import policies
from agents.valuing import SEED_BASE, honest_policies, seeing, shop_specs, true_side
from recgym.errors import UserError
from recgym.runs import read_run
from recgym.spaces import ObservationSpec
from recgym.types import Policy
from recgym.users.sequence import SequenceModel


@dataclass(frozen=True)
class Opened:
    """What of a run can be played."""

    folder: Path
    agent: str
    model: SequenceModel
    specs: dict[str, ObservationSpec]  # by shop
    policies: dict[str, Policy]  # that any of the shops can play
    only_true: dict[str, tuple[ObservationSpec, Policy]]  # that see the true shop's hidden state
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

    def find(self, shop: str, policy: str) -> tuple[ObservationSpec, Policy]:
        """A shop as a policy sees it, and the policy.

        Raises:
            UserError: if there is no such shop or policy.
        """
        if shop not in self.specs:
            why = (
                " (its log was not written by a true shop)"
                if shop == "true"
                else " (it has no ensemble)"
                if shop == "scored"
                else ""
            )
            raise UserError(
                f"shop={shop} is none of run={self.folder}{why}: expected "
                f"{' or '.join(self.specs)}."
            )
        if policy in self.only_true and (shop == "true" or policy not in self.policies):
            if shop != "true":
                raise UserError(
                    f"policy {policy} looks at the true shop's hidden state: set shop=true."
                )
            return self.only_true[policy]
        if policy in self.policies:
            return self.specs[shop], self.policies[policy]
        if ":" in policy:
            return self.specs[shop], evaluate.foreign_policy(policy)
        known = [*self.policies, *(name for name in self.only_true if name not in self.policies)]
        raise UserError(
            f"policy {policy} is none of run={self.folder}: expected one of {', '.join(known)}, or "
            "anyone's as module:function."
        )


def open_run(folder: Path, device: torch.device) -> Opened:
    """Open what ``agents.train`` left in a run folder.

    Raises:
        UserError: if it is none, or one that placed ads.
    """
    settings, _ = read_run(folder)
    if places_ads(settings["agent"]):
        raise UserError(
            f"run={folder} placed ads: recgym.replay shows sessions of recommenders alone, and "
            "takes no runs of env=ad_allocate, ad_insert, ad_price or shop."
        )
    run = evaluate.open_run(folder, device)
    world, logging = true_side(run.reader, device)
    report = run.summary["user_model"]
    shops = shops_of(
        run.model, folder / "model", report, run.settings, run.offered, world, logging, run.split
    )
    name = run.summary["agent"]
    evaluation = run.settings["evaluation"]
    return Opened(
        folder=folder,
        agent=name,
        model=run.model,
        specs=shop_specs(run.model, world, run.offered["num_slots"], run.split),
        policies={**honest_policies(run.offered, shops.replayed), **policies(run.agent, name)},
        only_true=seeing(world, logging, run.offered),
        sessions=int(evaluation["sessions"]),
        first_seed=SEED_BASE + (int(evaluation["seed"]) << 32),
        assumed=shops.assumptions["sentence"] if shops.assumptions else None,
    )
