"""The user models that are declared wrong are wrong in what they say they are, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_log import simulate

from agents.baselines import Random
from recgym import choice
from recgym.simulator import Simulator
from recgym.types import Kind, Page
from recgym.users.ensemble import Ensemble
from recgym.users.fit_settings import FitSettings
from recgym.users.lstm import LSTMUserModel
from recgym.users.store import load_model, save_model
from recgym.users.training import fit
from recgym.users.wrong import ItemClicks, PageBlind
from recgym.worlds.taste import TasteShop

SHOP = TasteShop(num_items=30)
SESSIONS, *_ = simulate(Simulator(SHOP, num_slots=3), Random(num_slots=3), 600)


def fitted(kind: type[LSTMUserModel]) -> LSTMUserModel:
    torch.manual_seed(0)
    model = kind(
        SHOP.catalog, torch.ones(30, dtype=torch.bool), SESSIONS.profile, SESSIONS.time_ms[:50],
        hidden=8, embedding=4, classes=4, segments=2,
    )  # fmt: skip
    settings = FitSettings(epochs=2, least_updates=10, learning_rate=1e-2)
    fit(model, model.sees(SESSIONS), settings, seed=0)
    return model.eval()


@pytest.fixture(scope="module")
def blind() -> LSTMUserModel:
    return fitted(PageBlind)


@pytest.fixture(scope="module")
def clicks() -> LSTMUserModel:
    return fitted(ItemClicks)


def law_of(model: LSTMUserModel, item_NK: torch.Tensor) -> choice.Law:
    shop: object = model
    simulator = Simulator(shop, num_slots=3)  # type: ignore[arg-type]
    seed = torch.arange(len(item_NK))
    state = simulator.reset(seed, torch.zeros_like(seed))
    page = simulator.page(state, item_NK)
    supposed = model.suppose(model.read(state.user), torch.rand(len(seed)))  # type: ignore[arg-type]
    return choice.law(model.respond(supposed, page, state.visit), state.visit)


def test_the_blind_model_reads_every_view_as_found_alone() -> None:
    seen = PageBlind.sees(SESSIONS)
    assert seen.page.item.shape[1] == 0
    assert bool((seen.event.slot < 0).all())
    assert torch.equal(seen.event.item, SESSIONS.event.item)
    assert bool((SESSIONS.event.slot >= 0).any())


def test_in_the_blind_shop_pages_do_nothing_at_all(blind: LSTMUserModel) -> None:
    full = law_of(blind, torch.tensor([[1, 2, 3], [4, 5, 6]]))
    empty = law_of(blind, torch.full((2, 3), -1))
    assert torch.equal(choice.slot_given_view(full), torch.zeros(2, 3))
    assert torch.equal(full.attraction, torch.zeros(2))
    assert torch.equal(full.upper[:, int(Kind.VIEW)].isnan(), empty.upper[:, 2].isnan())


def test_in_the_item_clicks_shop_a_click_is_the_same_for_all(clicks: LSTMUserModel) -> None:
    law = law_of(clicks, torch.tensor([[1, 2, 3]] * 5))
    assert clicks.answers.dissimilarity.item() == 1.0
    assert torch.allclose(law.response.slot, law.response.slot[:1].expand(5, -1))
    # strangers to what is found alone: all of the slot's mass is added, none taken over
    torch.testing.assert_close(law.added, law.response.slot.exp())
    assert float(law.taken().abs().max()) < 1e-6


@pytest.mark.parametrize("kind", ["blind", "clicks"])
def test_a_wrong_model_is_kept_as_what_it_is(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    save_model(model, tmp_path / "model", {})
    again = load_model(tmp_path / "model")
    assert type(again) is type(model)
    item_NK = torch.tensor([[1, 2, 3]])
    torch.manual_seed(1)
    first = law_of(model, item_NK)
    torch.manual_seed(1)
    assert torch.equal(first.added, law_of(again, item_NK).added)


@pytest.mark.parametrize("kind", ["blind", "clicks"])
@torch.no_grad()
def test_an_ensemble_of_wrong_models_is_wrong_alike(
    kind: str, request: pytest.FixtureRequest
) -> None:
    # Why: greedy ranks by appeal and shoppers answer by respond, in an ensemble too.
    model: LSTMUserModel = request.getfixturevalue(kind)
    pair: Any = Ensemble([model, model])
    state: Any = Simulator(pair, num_slots=3).reset(torch.arange(6), torch.arange(6))
    supposed = pair.suppose(pair.read(state.user), torch.rand(6))
    price_NI = model.catalog.price_at(state.visit.time_ms)
    appeal_NI = pair.appeal(supposed, state.visit, price_NI)
    response = pair.respond(
        supposed, Page(torch.arange(3).expand(6, 3), price_NI[:, :3]), state.visit
    )
    place_K = model.answers.position[:3] - model.answers.position[0]
    torch.testing.assert_close(response.slot, appeal_NI[:, :3] + place_K)
