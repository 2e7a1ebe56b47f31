"""Running policies on the same shoppers, in the learned shop and in the true one.

Beside the oracles and the experiments the only place that may look at the truth.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.baselines import Greedy, Popular, Random
from recgym import progress
from recgym.build import build, keywords_of
from recgym.confounding import is_confounded, logging_spec
from recgym.logging_policy import EmptyPages
from recgym.record import TrueShopLog
from recgym.rollout import LANES, rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.model import cart_paid
from recgym.types import Kind, Observation, Outcome, Policy, Sessions, SessionStats, Split
from recgym.users.base import Shoppers
from recgym.users.ensemble import Ensemble, Halves
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import rows_of
from recgym.worlds.base import TrueShop
from recgym.worlds.truth import elasticity, oracle_spec

SEED_BASE = 1 << 40  # of evaluation's shoppers, above those of any log


@dataclass(frozen=True)
class Played:
    """What a policy did on the evaluation's shoppers."""

    stats: SessionStats
    coverage: float  # share of the catalogue shown at least once
    member: Tensor | None = None  # [B] of an ensemble, whom each shopper met; None for one model


def play(
    spec: ObservationSpec,
    policy: Policy,
    num_shoppers: int,
    seed: int,
    device: torch.device,
    lanes: int = LANES,
) -> Played:
    """One episode each of ``num_shoppers`` shoppers, the same ones for every policy."""
    shown_I = torch.zeros(spec.catalog.num_items + 1, dtype=torch.bool, device=device)

    def on_step(_: Tensor, __: SimState, ___: Observation, outcome: Outcome) -> None:
        shown_I[outcome.page.item.flatten() + 1] = True

    seed_B = SEED_BASE + (seed << 32) + torch.arange(num_shoppers, device=device)
    stats = rollout(
        spec,
        policy,
        seed_B,
        torch.zeros_like(seed_B),
        lanes=lanes,
        on_step=on_step,
        progress=progress.advance,
    )
    shop = spec.simulator.shop
    member_B = None
    if isinstance(shop, Ensemble):
        member_B = shop.member_of(seed_B, torch.zeros_like(seed_B))
    return Played(stats, float(shown_I[1:].float().mean()), member_B)


def shop_specs(
    model: SequenceModel,
    world: TrueShop | None,
    num_slots: int,
    split: Halves | None = None,
    num_sessions: int = 1,
) -> dict[str, ObservationSpec]:
    """The shops that policies meet, all read by the same encoder, the fit to all shoppers.

    ``learned``, which agents are trained in; ``scored``, where an ensemble has a half of its own
    for that; ``true``, where it is known.
    """
    shops: dict[str, Shoppers] = {"learned": model}
    if split is not None:
        shops = {"learned": split.training, "scored": split.scoring}
    if world is not None:
        shops["true"] = world
    return {
        name: ObservationSpec(
            Simulator(shop, encoder=model, num_slots=num_slots, num_sessions=num_sessions),
            "encoder",
        )
        for name, shop in shops.items()
    }


def resources(
    model: SequenceModel, sessions: Sessions, num_slots: int, seed: int, num_sessions: int = 1
) -> dict[str, Any]:
    """All that an agent's constructor may ask for by name."""
    spec = shop_specs(model, None, num_slots, num_sessions=num_sessions)["learned"]
    train_B = rows_of(sessions, Split.TRAIN)
    in_train_B = torch.zeros(len(sessions.split), dtype=torch.bool)
    in_train_B[train_B] = True
    length_B = sessions.offset[1:] - sessions.offset[:-1]
    session_S = torch.repeat_interleave(torch.arange(len(length_B)), length_B)
    viewed_S = in_train_B[session_S] & (sessions.event.kind == int(Kind.VIEW))
    view_V2 = torch.stack([session_S, sessions.event.item], -1)[viewed_S]
    views_I = torch.bincount(view_V2[:, 1], minlength=model.catalog.num_items)
    return {
        "model": model,
        "user_model": model,
        "num_features": spec.num_features,
        "num_items": model.catalog.num_items,
        "num_slots": num_slots,
        "num_sessions": num_sessions,
        "views_I": views_I,
        "view_V2": view_V2,
        "cart_paid": cart_paid(sessions),
        "seed": seed,
    }


def make_agent(settings: Any, offered: dict[str, Any]) -> Any:
    """The agent of a ``conf/agent`` entry, given those of ``offered`` that it asks for."""
    wanted = keywords_of(settings)
    return build(settings, **{k: v for k, v in offered.items() if k in wanted})


def honest_policies(offered: dict[str, Any], logging: Policy | None = None) -> dict[str, Policy]:
    """The baselines of every table, and the policy that wrote the log where it is known."""
    num_slots = offered["num_slots"]
    return {
        "nothing": EmptyPages(num_slots),
        **({"logging": logging} if logging is not None else {}),
        "random": Random(num_slots=num_slots),
        "popular": Popular(offered["views_I"], num_slots=num_slots),
        "greedy": Greedy(offered["model"], num_slots=num_slots, cart_paid=offered["cart_paid"]),
    }


def value(
    specs: dict[str, ObservationSpec],
    policies: dict[str, Policy],
    *,
    num_shoppers: int,
    seed: int,
    device: torch.device,
    only_true: dict[str, tuple[ObservationSpec, Policy]] | None = None,
) -> dict[str, dict[str, Played]]:
    """Every policy in every shop: shop, then policy, then what it did.

    ``only_true`` are those that see the true shop's hidden state, with their own observations.
    """
    played: dict[str, dict[str, Played]] = {}
    for shop, spec in specs.items():
        played[shop] = {
            name: play(spec, policy, num_shoppers, seed, device)
            for name, policy in policies.items()
        }
    for name, (spec, policy) in (only_true or {}).items():
        played["true"][name] = play(spec, policy, num_shoppers, seed, device)
    return played


def oracle_of(world: TrueShop, offered: dict[str, Any]) -> tuple[ObservationSpec, Policy]:
    """Greedy with the true shop's own probabilities and state: a myopic ceiling."""
    num_slots, num_sessions = offered["num_slots"], offered["num_sessions"]
    policy = Greedy(world, num_slots=num_slots, cart_paid=offered["cart_paid"])
    return oracle_spec(world, num_slots, num_sessions), policy


def seeing(
    world: TrueShop | None, logging: Policy | None, offered: dict[str, Any]
) -> dict[str, tuple[ObservationSpec, Policy]]:
    """The policies that only the true shop can play: a logging policy that sees, and the oracle."""
    if world is None:
        return {}
    found = {}
    if logging is not None and is_confounded(logging):
        spec = logging_spec(
            world, logging, offered["num_slots"], num_sessions=offered["num_sessions"]
        )
        found["logging"] = spec, logging
    return {**found, "oracle": oracle_of(world, offered)}


def true_elasticity(world: TrueShop, policy: Policy, num_slots: int) -> float:
    """The true shop's price elasticity under its logging policy, for the log's card."""
    return elasticity(world, policy, num_slots=num_slots, num_sessions=2000, seed=0)


def true_side(
    reader: Any, device: torch.device, num_slots: int | None = None
) -> tuple[TrueShop | None, Policy | None]:
    """The true shop behind a log and its logging policy, where there is one.

    The policy fills pages of ``num_slots``, whatever the size of the log's; None: of the log's.
    """
    if not isinstance(reader, TrueShopLog):
        return None, None
    world = reader.true_shop(str(device))
    if num_slots is not None:
        reader = dataclasses.replace(reader, num_slots=num_slots)
    return world, reader.logging_policy(world)
