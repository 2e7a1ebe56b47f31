"""recgym.worlds: the default law does not move, and each knob does what it says and no more."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from log_files import read_rows
from tiny import compose
from torch import Tensor

from agents.valuing import seeing
from recgym import choice, organic
from recgym.build import build
from recgym.confounding import SeeingPolicy
from recgym.errors import UserError
from recgym.logging_policy import EmptyPages, LoggedPages, LoggingPolicy
from recgym.record import _Recorder, shoppers_of
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import logging_policy, open_reader
from recgym.types import Event, Kind, Observation, Outcome, Page
from recgym.worlds import beyond
from recgym.worlds.knobs import Knobs
from recgym.worlds.prior import Prior, draw_knobs, drawn
from recgym.worlds.taste import TasteShop

CONF = Path(__file__).resolve().parents[1] / "conf" / "world"
WORLDS = sorted(path.stem for path in CONF.glob("*.yaml"))
SLOTS = 5
# of session, page, kind, item, slot, what followed and page of 400 sessions of the default log,
# computed before the shop became a family
DEFAULT_LOG = "69b5ab64cf7e58d36719cca198584ae40693a756d3f9ac48a367d4a8362b1fca"


def small(name: str, **changed: Any) -> TasteShop:
    """A named world with few items, in float64."""
    settings = compose("train", f"world={name}")["world"]
    shop: TasteShop = build({**settings, "num_items": 40, **changed}, dtype=torch.float64)
    return shop


def begun(shop: TasteShop, lanes: int = 64, steps: int = 0) -> tuple[Simulator, SimState]:
    """Shoppers of this shop, so many random pages later (none leaves the batch)."""
    simulator = Simulator(shop, num_slots=SLOTS, dtype=torch.float64)
    seed = torch.arange(lanes)
    state = simulator.reset(seed, torch.zeros_like(seed))
    for step in range(steps):
        state, _ = simulator.step(state, simulator.page(state, random_items(shop, lanes, step)))
    return simulator, state


def random_items(shop: TasteShop, lanes: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(lanes, shop.catalog.num_items, generator=generator).argsort(-1)[:, :SLOTS]


def played(shop: TasteShop, items: Any, sessions: int = 1500) -> list[Outcome]:
    """Outcomes of fresh sessions under a policy of so many slots, in the order of steps."""
    spec = ObservationSpec(Simulator(shop, num_slots=SLOTS, dtype=shop.dtype), "history")
    seed, seen = torch.arange(sessions), []

    def on_step(_: Tensor, __: SimState, ___: Observation, outcome: Outcome) -> None:
        seen.append(outcome)

    rollout(spec, items, seed, torch.zeros_like(seed), on_step=on_step, lanes=sessions)
    return seen


class Chance:
    """Random pages, other ones by ``seed``."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        shape = observation.eligible.shape
        return torch.rand(shape, generator=self.generator).argsort(-1)[:, :SLOTS]


def total(outcomes: list[Outcome], of: str) -> float:
    return float(sum(getattr(outcome, of).double().sum() for outcome in outcomes))


def test_the_default_log_is_what_it_always_was() -> None:
    # Why: figures in README and experiments are of this shop; a knob that is off must not move it.
    reader: Any = open_reader(compose("train")["log"])
    shop = reader.true_shop()
    recorder = _Recorder(reader.logging_policy(shop))
    spec = ObservationSpec(Simulator(shop, expected_revenue=False), "history")
    rollout(spec, recorder, *shoppers_of(400, 0, 2.5), on_step=recorder.step)
    columns, digest = recorder.columns(), hashlib.sha256()
    for name in ("session", "page", "kind", "item", "slot", "after", "page_item"):
        digest.update(columns[name].tobytes())
    assert digest.hexdigest() == DEFAULT_LOG


@pytest.mark.parametrize("name", WORLDS)
def test_an_item_alone_has_its_appeal(name: str) -> None:
    # Why: greedy and the oracle rank by `appeal`, shoppers answer by `respond`: one law.
    shop = small(name)
    simulator, state = begun(shop, 12, steps=3)
    appeal = shop.appeal(state.user, state.visit, shop.catalog.price_at(state.visit.time_ms))
    for item in (0, 17):
        alone = torch.full((12, SLOTS), -1)
        alone[:, 0] = item
        response = shop.respond(state.user, simulator.page(state, alone), state.visit)
        torch.testing.assert_close(response.slot[:, 0], appeal[:, item])


@pytest.mark.parametrize("name", WORLDS)
def test_shoppers_do_not_depend_on_who_comes_beside_them(name: str) -> None:
    # Why: each knob's state must move lane by lane.
    shop = small(name)
    (_, few), (_, many) = (begun(shop, lanes, steps=0) for lanes in (7, 40))
    simulator = Simulator(shop, num_slots=SLOTS, dtype=torch.float64)
    for step in range(4):
        item = random_items(shop, 40, step)
        many, _ = simulator.step(many, simulator.page(many, item))
        few, _ = simulator.step(few, simulator.page(few, item[:7]))
    for name, value in vars(few.user).items():
        assert value is None or torch.equal(value, getattr(many.user, name)[:7]), name


def test_a_redundant_page_is_clicked_and_worth_nothing() -> None:
    # Why: whoever counts clicks as gains believes in it; by hand, a twin of equal mass takes over
    # 1 - 2^(d - 1), half of what would be found, and adds 2^d - 1 = 7e-5 of it.
    shop = small("redundant")
    full, empty = played(shop, Chance()), played(shop, EmptyPages(SLOTS))
    assert total(full, "clicked") > 200 and total(empty, "clicked") == 0
    for name in ("revenue", "bought", "left"):
        assert total(full, name) == total(empty, name)
    simulator, state = begun(shop)
    page = simulator.page(state, random_items(shop, 64))
    law = choice.law(shop.respond(state.user, page, state.visit), state.visit)
    torch.testing.assert_close(law.kept, torch.full_like(law.kept, 2 ** (1e-4 - 1)))
    torch.testing.assert_close(law.added, law.twin * (2**1e-4 - 1))


def test_nobody_heeds_an_impossible_page() -> None:
    # Why: there no policy does anything, so every claim is false.
    shop = small("impossible")
    full, empty = played(shop, Chance()), played(shop, EmptyPages(SLOTS))
    assert total(full, "clicked") == 0
    assert total(full, "revenue") == total(empty, "revenue") > 0


def test_some_items_are_found_on_pages_only() -> None:
    # Why: showing those adds all that it brings; a third of 40 items, and no category is empty.
    shop = small("page_only")
    _, state = begun(shop)
    response = shop.respond(state.user, Page(*[torch.zeros(64, 0).long()] * 2), state.visit)
    hidden_I = organic.probabilities(response.organic).amax(0) < 1e-15
    assert 6 <= int(hidden_I.sum()) <= 20
    assert torch.equal(shop.catalog.category[~hidden_I].unique(), shop.catalog.category.unique())
    events = [outcome.event for outcome in played(shop, Chance())]
    item, slot = (torch.cat([getattr(e, k) for e in events]) for k in ("item", "slot"))
    rare = hidden_I[item.clamp(min=0)] & (item >= 0)
    assert bool((slot[rare] >= 0).all()) and int(rare.sum()) > 50


def test_without_long_term_effects_a_page_changes_nothing_later() -> None:
    # Why: that is what the switch promises: other pages, and yet the same sessions page by page.
    shop = small("default", long_term=False)
    first, second = played(shop, Chance(0)), played(shop, Chance(1))
    assert len(first) == len(second) > 10 and total(first, "carted") == 0
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.event.kind, b.event.kind) and torch.equal(a.event.gap, b.event.gap)
    assert total(first, "clicked") > 100 and total(first, "revenue") != total(second, "revenue")


def test_views_of_one_category_bore() -> None:
    # Why: by hand, with a memory of 0.8, three views of a category leave 1 + 0.8 + 0.64 = 2.44 of
    # it; items of it lose 0.7 times that, leaving gains 0.15 * 1.44 and others are left alone.
    shop = small("bored")
    simulator, state = begun(shop, 8)
    category = shop.catalog.category
    sated = state.user.sated
    for _ in range(3):
        kind = torch.full((8,), int(Kind.VIEW)).unsqueeze(-1) >= 0
        sated = beyond.next_sated(sated, torch.full((8,), int(category[3])), kind, 0.8)
    bored = dataclasses.replace(state.user, sated=sated)
    page = simulator.page(state, random_items(shop, 8))
    before, after = (shop.respond(user, page, state.visit) for user in (state.user, bored))
    same = (category[page.item] == category[3]).double()
    torch.testing.assert_close(before.slot - after.slot, 0.7 * 2.44 * same)
    torch.testing.assert_close(after.leave - before.leave, torch.full((8,), 0.15 * 1.44).double())
    held = category.unique()
    odds = (before.organic.category - after.organic.category)[:, held].diff(dim=-1)
    assert float(odds.abs().amax()) == pytest.approx(0.7 * 2.44, abs=1e-6)


def test_prices_are_held_against_those_seen() -> None:
    # Why: by hand, prices e^2 and e^4 shown and e^3 viewed, which weighs five times as much: the
    # mean log price is (2 + 4 + 5 * 3) / 7 = 3, and memory 0.7 moves 1 to 0.7 + 0.3 * 3 = 1.6.
    price = torch.tensor([[2.0, 4.0, 0.0]]).double().exp()
    page = Page(torch.tensor([[5, 6, -1]]), price)
    ones = torch.ones(1).double()
    view = torch.full((1,), int(Kind.VIEW))
    event = Event(*[view] * 4, price=(ones * 3.0).exp(), quantity=ones, gap=ones)
    assert float(beyond.next_reference(ones, page, event, 0.7)) == pytest.approx(1.6)
    above = beyond.against_reference(torch.tensor([0.5, 2.0]), torch.ones(2), 2.0)
    assert above.tolist() == [-0.5, 2.0]  # a loss counts twice


def test_the_rest_of_the_page_counts() -> None:
    # Why: by hand, items 0 and 1 are alike (cosine 1), item 2 is alien; 0 is cheaper than 1, of the
    # same category and no worse, so it gains by the decoy.
    page = Page(torch.tensor([[0, 1, 2]]), torch.tensor([[10.0, 20.0, 5.0]]).double())
    factor = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]]).double()
    knobs = Knobs(similarity=3.0, decoy=0.5)
    found = beyond.context(
        knobs, page, factor, torch.tensor([[1, 1, 1]]), torch.tensor([[0.0, 0.0, -9.0]]).double()
    )
    torch.testing.assert_close(found, torch.tensor([[0.5 - 1.0, -1.0, 0.0]]).double())


def test_segments_have_laws_of_their_own() -> None:
    # Why: one law for all is what a user model with one dissimilarity assumes.
    shop, same = small("misspecified"), small("default")
    law = shop.page_law
    for value in (law.shown_pull, law.dissimilarity, law.page_weight, law.slot[:, 0]):
        assert len(value.unique()) == shop.knobs.num_segments
    assert bool(((law.dissimilarity > 0) & (law.dissimilarity < 1)).all())
    assert len(same.page_law.slot) == 1 and float(same.page_law.dissimilarity[0]) == 0.6


def test_fame_and_appeal_drift_by_weeks() -> None:
    # Why: by hand, 8 weeks of steps with sd 0.2 that begin where the site's knowledge ends.
    shop = small("default", drift=0.2)
    assert shop.appeal_WI.shape == (8, 40) and torch.equal(shop.appeal_WI[0], shop.goods.appeal)
    assert float(shop.appeal_WI.diff(dim=0).std()) == pytest.approx(0.2, rel=0.1)
    day = 86_400_000
    start = shop.catalog.start_ms + torch.tensor([0, 6, 7, 55, 900]) * day
    assert beyond.week_of(start, 56).tolist() == [0, 0, 1, 7, 7]


def test_a_confounded_log_follows_hidden_taste_and_says_how_likely() -> None:
    # Why: the first slot's propensity is by hand the mixture at that item; the pages shown suit the
    # shoppers' hidden taste more than those of an honest logger do.
    liked = {}
    for name in ("confounded", "default"):
        reader: Any = open_reader({**compose("train", f"world={name}")["log"], "num_slots": SLOTS})
        shop = reader.true_shop()
        policy = reader.logging_policy(shop)
        simulator = Simulator(shop, encoder=shop, num_slots=SLOTS)
        seed = torch.arange(400)
        state = simulator.reset(seed, torch.zeros_like(seed))
        seen = ObservationSpec(simulator, "history").observe(state)
        item, chance = policy.act_with_propensity(seen)
        filled = item[:, 0] >= 0
        affinity = policy.scores(seen).softmax(-1).gather(-1, item.clamp(min=0))[:, 0]
        popular = policy.popularity_I[item.clamp(min=0)][:, 0]
        by_hand = (0.68 * affinity + 0.25 * popular + 0.05 / 300) / 0.98
        torch.testing.assert_close((chance[:, 0] * 1.0)[filled], by_hand[filled] * 0.98)
        liking = shop.liking(state.user)
        liked[name] = float(liking.gather(-1, item.clamp(min=0))[filled].mean() / liking.std())
    assert liked["confounded"] > liked["default"] + 0.5


def test_a_policy_that_saw_too_much_is_played_in_its_own_shop_only(tmp_path: Path) -> None:
    # Why: a learned shop has no hidden taste to show it; its propensities stay in the log, whose
    # rows all say how likely they were.
    settings = {**compose("train", "world=confounded", "world.num_items=30")["log"]}
    reader: Any = open_reader({**settings, "num_sessions": 120, "num_slots": 3})
    log = reader.clean(tmp_path / "log")
    rows = read_rows(log.folder / "impressions.parquet", "propensity")
    assert len(rows) > 500 and all(0.0 < chance <= 1.0 for (chance,) in rows)
    world = reader.true_shop()
    policy = reader.logging_policy(world)
    assert isinstance(policy, SeeingPolicy)
    assert isinstance(logging_policy(log, reader, world), LoggedPages)
    offered = {"num_slots": 3, "num_sessions": 1, "cart_paid": 0.3}
    assert list(seeing(world, policy, offered)) == ["logging", "oracle"]
    honest = LoggingPolicy(world.catalog, world.fame.exp(), num_slots=3)
    assert list(seeing(world, honest, offered)) == ["oracle"]


def test_a_drawn_shop_is_its_seed() -> None:
    # Why: `world=drawn world.seed=7` must name one shop, whatever its size, within the prior.
    assert draw_knobs(7) == draw_knobs(7) != draw_knobs(8)
    shop = drawn(7, num_items=30)
    assert shop.knobs.rho == draw_knobs(7).rho and shop.catalog.num_items == 30
    prior = Prior()
    many = [draw_knobs(seed) for seed in range(200)]
    for name in ("rho", "slot", "quality"):
        least, most = getattr(prior, name)
        found = [getattr(knobs, name) for knobs in many]
        assert least <= min(found) < least + 0.1 * (most - least)
        assert most >= max(found) > most - 0.1 * (most - least)
    assert 60 <= sum(knobs.boredom > 0 for knobs in many) <= 140
    assert all((knobs.similarity > 0) == (knobs.decoy > 0) for knobs in many)
    assert draw_knobs(7, Prior(rho=(0.5, 0.5))).rho == 0.5
    assert draw_knobs(7, Prior(rho=(0.5, 0.5))).slot == draw_knobs(7).slot


def test_wrong_knobs_end_in_a_sentence() -> None:
    # Why: a typo in a sweep must not run as the default shop.
    with pytest.raises(UserError, match="takes no shown_pul: expected knobs among seed, num_items"):
        TasteShop(shown_pul=1.0)
    with pytest.raises(UserError, match=r"dissimilarity=1\.5: expected a number from 1e-05 to 1"):
        TasteShop(dissimilarity=1.5)
    with pytest.raises(UserError, match="rho=nan"):
        TasteShop(rho=float("nan"))
