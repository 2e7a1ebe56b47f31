"""The parts of a cell: each trains or fits something of its own and values policies with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from agents.valuing import seeing, shop_specs
from experiments.believing.effects import effects, naive_elasticity
from experiments.believing.names import (
    AGENT,
    CEILING,
    CURED,
    GREEDY,
    IN_TRUTH,
    NOTHING,
    RIGHT,
    SCORED,
    TRAINED,
    TRUE,
    WRONG,
)
from experiments.believing.second import foreseen
from experiments.believing.stand import Stand
from experiments.values import Play, Values, values_of
from recgym import progress
from recgym.spaces import ObservationSpec
from recgym.types import Policy
from recgym.users.base import Shoppers
from recgym.users.sequence import SequenceModel
from recgym.users.store import SCHEMA_VERSION as MODEL_VERSION
from recgym.worlds.truth import observable_spec

SEED_OF_EFFECTS = 7
SECOND_SESSIONS = 10_000  # of another logging policy, which the fits foresee step by step


@dataclass(frozen=True)
class Found:
    """What a part says: figures by name, and values of policies by shop."""

    result: dict[str, Any]
    values: dict[str, Values]


def right(stand: Stand) -> Found:
    """The fit that is meant to be right, and the agent trained in it."""
    slots, report = stand.settings.num_slots, stand.right[1]
    specs, own = stand.specs(), shop_specs(stand.model, None, slots)["learned"]
    agent = stand.trained(AGENT, own)
    alike = _alike(stand)
    reading: dict[str, Policy] = {GREEDY: stand.rules[GREEDY], AGENT: agent}
    values = _values(
        stand,
        {
            TRUE: {
                **_through(observable_spec(stand.world, slots), alike),
                **_through(specs[TRUE], reading),
                **seeing(stand.world, stand.logging, stand.offered),
            },
            RIGHT: _through(own, {**stand.rules, AGENT: agent}),
        },
    )
    figures = _figures(stand, RIGHT, stand.model)
    figures["effects"][TRUE] = _effects(stand, stand.world)
    return _found(
        stand,
        values,
        model_version=MODEL_VERSION,
        naive_elasticity=naive_elasticity(stand.sessions),
        on_policy=report["on_policy"],
        page_weight=float(stand.model.answers.page_weight.detach()),
        **figures,
    )


def wrong(stand: Stand, kind: str) -> Found:
    """A user model that is declared wrong, by which policies are ranked too."""
    model, _, _ = stand.fit(kind)
    own = shop_specs(model, None, stand.settings.num_slots)["learned"]
    values = _values(stand, {kind: _through(own, _alike(stand))})
    return _found(stand, values, **_figures(stand, kind, model))


def cured(stand: Stand) -> Found:
    """An ensemble: an agent trained in one half of it, and agents scored by the other."""
    specs = stand.specs(stand.members())
    agent = stand.trained(CURED, specs["learned"], pessimism=stand.settings.pessimism)
    nothing = {NOTHING: stand.rules[NOTHING]}
    scored = {GREEDY: stand.rules[GREEDY], AGENT: stand.restored(AGENT), CURED: agent}
    values = _values(
        stand,
        {
            TRUE: _through(specs[TRUE], {CURED: agent}),
            TRAINED: _through(specs["learned"], {**nothing, CURED: agent}),
            SCORED: _through(specs["scored"], {**nothing, **scored}),
        },
    )
    return _found(stand, values)


def in_truth(stand: Stand, name: str, times: int = 1) -> Found:
    """The agent trained in the true shop, for ``times`` its steps."""
    spec = stand.specs()[TRUE]
    agent = stand.trained(name, spec, times)
    return _found(stand, _values(stand, {TRUE: _through(spec, {name: agent})}))


PARTS: dict[str, Callable[[Stand], Found]] = {
    RIGHT: right,
    **{kind: partial(wrong, kind=kind) for kind in WRONG},
    IN_TRUTH: partial(in_truth, name=IN_TRUTH),
    CURED: cured,
    CEILING: lambda stand: in_truth(stand, CEILING, stand.settings.oracle_times),
}
FURTHER = tuple(name for name in PARTS if name != RIGHT)  # those that a cell can do without


def _alike(stand: Stand) -> dict[str, Policy]:
    """The policies that do not read the user model, which need not run along for them."""
    return {name: rule for name, rule in stand.rules.items() if name != GREEDY}


def _through(spec: ObservationSpec, policies: Mapping[str, Policy]) -> dict[str, Play]:
    return {name: (spec, policy) for name, policy in policies.items()}


def _values(stand: Stand, plays: Mapping[str, dict[str, Play]]) -> dict[str, Values]:
    sessions, seed = stand.settings.sessions, stand.settings.seed
    with progress.stage("values", sessions * sum(map(len, plays.values())), stand.seconds):
        return {shop: values_of(policies, sessions, seed) for shop, policies in plays.items()}


def _figures(stand: Stand, kind: str, model: SequenceModel) -> dict[str, dict[str, Any]]:
    """What a user model has of effects, and foresees of another policy's pages."""
    sessions = min(stand.settings.sessions, SECOND_SESSIONS)
    told = foreseen(model, stand.world, stand.settings.num_slots, sessions)
    return {"effects": {kind: _effects(stand, model)}, "second_policy": {kind: told}}


def _effects(stand: Stand, shop: Shoppers) -> dict[str, float]:
    settings = stand.settings
    with progress.stage("effects", 1.0, stand.seconds):
        return vars(effects(shop, settings.num_slots, settings.effect_sessions, SEED_OF_EFFECTS))


def _found(stand: Stand, values: dict[str, Values], **figures: Any) -> Found:
    seconds = {name: round(value, 1) for name, value in stand.seconds.items()}
    stand.seconds.clear()
    return Found({**figures, "seconds": seconds}, values)
