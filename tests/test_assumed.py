"""recgym.users.assumed: one fit, many shops, and settings that cannot be used are refused early."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from probe_shop import learned_shop

from recgym.errors import UserError
from recgym.logging_policy import EmptyPages
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.users.assumed import assumed_range, assumed_shop
from recgym.users.lstm import LSTMUserModel

SLOTS = 3
SETTINGS: dict[str, Any] = {
    "rho": 0.3,
    "page_share": 0.2,
    "seed": 4,
    "range": {"rho": [0, 0.9], "draws": 2, "sessions": 50},
}


def changed(key: str, value: Any) -> dict[str, Any]:
    settings = copy.deepcopy(SETTINGS)
    inner = settings["range"] if key.startswith("range.") else settings
    inner[key.removeprefix("range.")] = value
    return settings


def shop(fit: LSTMUserModel, rho: float, seed: int) -> LSTMUserModel:
    return assumed_shop(fit, rho=rho, page_share=0.2, seed=seed, num_slots=SLOTS)


def test_every_rho_meets_every_draw() -> None:
    # Why: a range over fewer shops than it says is narrower than what is unknown.
    chosen = assumed_range(SETTINGS, SLOTS)
    assert chosen.all() == [(0.0, 4), (0.0, 5), (0.9, 4), (0.9, 5)]
    assert (chosen.sessions, chosen.page_share, chosen.num_slots) == (50, 0.2, SLOTS)


def test_the_fit_stays_as_it_was_and_gives_the_same_shop_again() -> None:
    # Why: an assumption on top of an assumption would be another one, under the same name.
    fit = learned_shop()
    before = copy.deepcopy(fit.state_dict())
    first, other, again = shop(fit, 0.6, 1), shop(fit, 0.6, 2), shop(fit, 0.6, 1)
    assert all(torch.equal(before[key], value) for key, value in fit.state_dict().items())
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not torch.equal(first.heads.of("clicked")[0], other.heads.of("clicked")[0])


def test_who_is_shown_nothing_is_the_same_in_all_of_them() -> None:
    # Why: lifts over the assumptions are compared, so that what they stand on must not move.
    fit, seed_B = learned_shop(), torch.arange(300)
    found = []
    for rho, seed in ((0.0, 0), (0.9, 7)):
        spec = ObservationSpec(Simulator(shop(fit, rho, seed), num_slots=SLOTS), "history")
        found.append(rollout(spec, EmptyPages(SLOTS), seed_B, torch.zeros_like(seed_B)))
    for name, value_B in vars(found[0]).items():
        assert torch.equal(value_B, vars(found[1])[name]), name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rho", "high"),
        ("rho", 1.5),
        ("page_share", None),
        ("page_share", 0.95),
        ("seed", -1),
        ("range.rho", []),
        ("range.rho", 0.3),
        ("range.rho", [0.3, 2]),
        ("range.rho", [True]),
        ("range.draws", 0),
        ("range.draws", 2.5),
        ("range.sessions", "many"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(key: str, value: Any) -> None:
    # Why: they are first used after a fit of hours.
    with pytest.raises(UserError, match=rf"{key.rpartition('.')[2]}=.*expected"):
        assumed_range(changed(key, value), SLOTS)


def test_no_range_at_all_is_refused() -> None:
    # Why: a lift without one is what must never be printed.
    with pytest.raises(UserError, match=r"assumptions\.range\.rho=None: expected a list"):
        assumed_range({**SETTINGS, "range": None}, SLOTS)
