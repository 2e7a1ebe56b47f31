"""recgym.users.sponsored: shoppers who tire of ads, overlook them, leave and stay away."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from probe_shop import ProbeShop, learned_shop
from torch import Tensor

from recgym import visit
from recgym.compiling import compiled
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.simulator import SimState, Simulator
from recgym.types import DAY_MS, Kind, Outcome, Page
from recgym.users.ad_law import PRESETS, AdLaw
from recgym.users.base import Shoppers
from recgym.users.ensemble import Ensemble
from recgym.users.lstm import LSTMUserModel
from recgym.users.sponsored import AdShoppers, measured
from recgym.worlds.taste import TasteShop

D = torch.float64
SLOTS = 10
AD_SLOTS = (1, 4)
BY_HAND = AdLaw(
    level=-0.3, blindness=1.0, trust_rate=0.1, memory=0.8, leave=0.4, back=0.5,
    rest_days=2.0, position=0.5, ordinary=math.log(0.2),
)  # fmt: skip


def equal(a: Record, b: Record) -> bool:
    """Whether all tensors of two records are the same to the bit."""
    pairs = [(value, getattr(b, name)) for name, value in vars(a).items()]
    return all(
        torch.equal(x, y) if isinstance(x, Tensor) else x is y or equal(x, y) for x, y in pairs
    )


def page_of(simulator: Simulator, state: SimState, number: int, ads: bool) -> Page:
    """Items that change from page to page; two of them ads, said so where ``ads``."""
    count, num_items = len(state.noise), simulator.catalog.num_items
    slot_K = torch.arange(simulator.num_slots)
    page = simulator.page(state, ((7 * number + slot_K) % num_items).expand(count, -1))
    ads_K = torch.isin(slot_K, torch.tensor(AD_SLOTS)) & torch.tensor(ads)
    return dataclasses.replace(page, sponsored=ads_K.expand(count, -1))


def play(
    simulator: Simulator, seed_N: Tensor, pages: int, *, ads: bool = True
) -> tuple[list[Outcome], SimState]:
    """So many pages, whoever left."""
    state, outcomes = simulator.reset(seed_N, torch.zeros_like(seed_N)), []
    for number in range(pages):
        state, outcome = simulator.step(state, page_of(simulator, state, number, ads))
        outcomes.append(outcome)
    return outcomes, state


def shop_named(name: str) -> Shoppers:
    if name == "true":
        return TasteShop(num_items=40, dtype=D)
    return learned_shop(D) if name == "learned" else Ensemble([learned_shop(D), learned_shop(D)])


def test_the_law_by_hand() -> None:
    # Why: tiredness, trust, mass and leaving are what a fit has to find again. Both ads' items have
    # mass 0.2: the first is relevant by 1/2 and looked at fully, the second by sigmoid(0.5) =
    # 0.622459 and e^-0.5 = 0.606531. So 0.5 + 0.606531 * 0.377541 = 0.728990 is added, and trust
    # moves by 0.1 * 0.606531 * 0.122459 = 0.007428.
    shop = AdShoppers(ProbeShop(dtype=D), BY_HAND)
    simulator = Simulator(shop, num_slots=3, dtype=D)
    state = simulator.reset(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    page = simulator.page(state, torch.tensor([[0, 1, 2]]))
    page = dataclasses.replace(page, sponsored=torch.tensor([[True, True, False]]))
    first = shop.respond(shop.read(state.user), page, state.visit)
    assert first.slot.exp()[0].tolist() == pytest.approx([0.2 * math.exp(-0.3)] * 2 + [0.2])
    assert first.leave.item() == -1.0
    after, outcome = simulator.step(state, page)
    assert outcome.event.kind.item() == int(Kind.VIEW)
    ads: Any = after.user
    assert ads.tired.item() == pytest.approx(0.728990, abs=1e-6)
    assert ads.added.item() == ads.tired.item() == shop.tired(ads).item()
    assert ads.trust.item() == pytest.approx(0.507428, abs=1e-6)
    second = shop.respond(shop.read(ads), page, after.visit)
    # -0.3 - (1 - 2 * 0.507428) = -0.285144; leaving: 1 view / 2 - 1 + 0.4 * 0.728990
    assert second.slot[0, 0].item() == pytest.approx(math.log(0.2) - 0.285144, abs=1e-6)
    assert second.leave.item() == pytest.approx(-0.208404, abs=1e-6)
    bare = dataclasses.replace(page, sponsored=None)
    later: Any = simulator.step(after, bare)[0].user
    assert later.tired.item() == pytest.approx(0.8 * 0.728990, abs=1e-6)
    assert later.added.item() == 0.0 and later.trust.item() == ads.trust.item()


def test_coming_back_by_hand() -> None:
    # Why: who is tired comes back less often, and less tired. Tiredness 1.6 takes 0.5 * 1.6 = 0.8
    # off the logit; four days of rest at two days a half leave a quarter, 0.4; trust is kept.
    inner = TasteShop(num_items=40, dtype=D, returns=True, return_base=-0.5, return_weight=5.0)
    shop = AdShoppers(inner, BY_HAND)
    arrival = shop.arrive(torch.tensor([3]), torch.tensor([0]))
    state = dataclasses.replace(
        shop.init_state(arrival), tired=torch.tensor([1.6], dtype=D), trust=torch.tensor([0.7])
    )
    now = visit.begin(arrival.start_ms, SLOTS, D, returning=True)
    assert shop.returning(state, now).logit.item() == pytest.approx(-1.3)
    later = dataclasses.replace(arrival, start_ms=state.seen_ms + 4 * DAY_MS)
    again = shop.again(state, later)
    assert again.tired.item() == pytest.approx(0.4) and again.trust.item() == state.trust.item()
    assert equal(again.inner, inner.again(state.inner, later))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["true", "learned", "ensemble"])
def test_without_effects_they_are_the_inner_shops_shoppers_to_the_bit(name: str) -> None:
    # Why: a shop with ads and the preset `none` is the control of every comparison.
    seed_N = torch.arange(12)
    inner = shop_named(name)
    plain = play(Simulator(inner, num_slots=SLOTS, dtype=D), seed_N, 5, ads=False)
    none = play(Simulator(AdShoppers(inner, "none"), num_slots=SLOTS, dtype=D), seed_N, 5)
    for a, b in zip(plain[0], none[0], strict=True):
        bare = dataclasses.replace(b.page, sponsored=a.page.sponsored)
        assert equal(a, dataclasses.replace(b, page=bare))
    assert equal(plain[1].user, none[1].user.inner)  # type: ignore[attr-defined]
    strong = play(Simulator(AdShoppers(inner, "strong"), num_slots=SLOTS, dtype=D), seed_N, 5)
    assert not all(equal(a.event, b.event) for a, b in zip(none[0], strong[0], strict=True))


@pytest.mark.parametrize("name", ["true", "learned"])
def test_no_shopper_depends_on_the_others(name: str) -> None:
    # Why: results may not depend on how many lanes run side by side.
    simulator = Simulator(AdShoppers(shop_named(name), "strong"), num_slots=SLOTS, dtype=D)
    many, many_end = play(simulator, torch.arange(8), 6)
    one, one_end = play(simulator, torch.tensor([5]), 6)
    for a, b in zip(many, one, strict=True):
        assert torch.equal(a.event.item[5:6], b.event.item)
        torch.testing.assert_close(a.expected_revenue[5:6], b.expected_revenue, rtol=0, atol=1e-9)
    for name in ("tired", "trust"):
        ours, theirs = (getattr(end.user, name) for end in (many_end, one_end))
        torch.testing.assert_close(ours[5:6], theirs, rtol=0, atol=1e-12)


def test_segments_of_a_learned_shop_keep_their_shoppers_tiredness() -> None:
    # Why: lanes of segments are many times those of shoppers; a wrong order would mix shoppers up.
    shop = AdShoppers(learned_shop(D), "strong")
    _, state = play(Simulator(shop, num_slots=SLOTS, dtype=D), torch.arange(3), 3)
    reading = shop.read(state.user)
    share_NG, supposed = shop.segments(reading)
    tired_NG = supposed.state.tired.unflatten(0, share_NG.shape)
    assert torch.equal(tired_NG, state.user.tired.unsqueeze(-1).expand_as(tired_NG))  # type: ignore[attr-defined]
    assert len(state.user.tired.unique()) == 3  # type: ignore[attr-defined]


def test_the_encoder_within_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: the LSTM is most of a step's cost; and policies must see its state as without ads.
    model, calls = learned_shop(D), []
    observe = LSTMUserModel.observe
    monkeypatch.setattr(
        LSTMUserModel, "observe", lambda *args: calls.append(1) or observe(*args)
    )  # fmt: skip
    shared = Simulator(AdShoppers(model, "strong"), encoder=model, num_slots=SLOTS, dtype=D)
    _, state = play(shared, torch.arange(4), 3)
    assert len(calls) == 3 and state.encoder is state.user.inner  # type: ignore[attr-defined]
    apart = Simulator(
        AdShoppers(model, "strong"), encoder=learned_shop(D), num_slots=SLOTS, dtype=D
    )
    _, other = play(apart, torch.arange(4), 3)
    assert len(calls) == 9 and state.encoder is not None and other.encoder is not None
    assert equal(state.encoder, other.encoder)


@pytest.mark.parametrize("name", ["true", "learned"])
def test_a_step_with_ads_is_compiled_whole(name: str, traced: list[str]) -> None:
    # Why: fullgraph refuses whatever would break the program into parts that wait for each other.
    inner = shop_named(name)
    simulator = Simulator(AdShoppers(inner, "strong"), num_slots=SLOTS, dtype=D)
    _, state = play(simulator, torch.arange(4), 2)
    page = page_of(simulator, state, 2, True)

    def stepped(state: SimState, page: Page) -> tuple[SimState, Outcome]:
        return simulator.step.__wrapped__(simulator, state, page)  # type: ignore[attr-defined,no-any-return]

    ours, wanted = compiled(stepped)(state, page), simulator.step(state, page)
    assert traced == ["stepped"]
    assert torch.equal(ours[1].event.item, wanted[1].event.item)
    torch.testing.assert_close(ours[0].user.tired, wanted[0].user.tired)  # type: ignore[attr-defined]


def test_trust_and_tiredness_stay_in_their_ranges_whatever_is_shown() -> None:
    # Why: a trust beyond 1 would make ads better than anything; every slot an ad is the worst case.
    law = dataclasses.replace(BY_HAND, trust_rate=1.0, memory=1.0)
    simulator = Simulator(AdShoppers(ProbeShop(dtype=D), law), num_slots=3, dtype=D)
    state = simulator.reset(torch.arange(4), torch.zeros(4, dtype=torch.int64))
    for _ in range(30):
        page = simulator.page(state, torch.tensor([[0, 1, 2]]).expand(4, -1))
        full = dataclasses.replace(page, sponsored=page.item >= 0)
        state, _ = simulator.step(state, full)
        trust_N, tired_N = state.user.trust, state.user.tired  # type: ignore[attr-defined]
        assert bool(((trust_N >= 0) & (trust_N <= 1) & (tired_N >= 0) & tired_N.isfinite()).all())
    empty = Page(torch.full((4, 3), -1), torch.zeros(4, 3, dtype=D), torch.zeros(4, 3).bool())
    state, outcome = simulator.step(state, empty)
    assert bool(outcome.expected_revenue.isfinite().all()) and bool((state.user.added == 0).all())  # type: ignore[attr-defined]


def test_place_and_ordinary_mass_are_measured_in_any_shop() -> None:
    # Why: a preset has to mean the same in a shop whose masses are others. In the default world a
    # doubling of the position costs 0.35, and an ordinary item has about -4.05 by its knobs; the
    # probe shop's items have log 0.2 in every slot.
    default = measured(TasteShop(dtype=D), "mild")
    assert default.position == pytest.approx(0.35, abs=1e-9)
    assert default.ordinary == pytest.approx(-4.05, abs=0.15)
    assert default.leave == PRESETS["mild"].leave
    probe = measured(ProbeShop(dtype=D), {"leave": 0.5})
    assert probe.position == 0.0 and probe.ordinary == pytest.approx(math.log(0.2))
    model = learned_shop(D)
    learned = measured(model, "mild")
    place_K = model.answers.position.detach().double()
    lost_K = place_K[0] - place_K[:4]
    doublings_K = torch.tensor([0.0, 1.0, math.log2(3.0), 2.0], dtype=D)
    slope = float((lost_K * doublings_K).sum() / doublings_K.square().sum())
    assert learned.position == pytest.approx(max(0.0, slope), abs=1e-9)
    given = measured(ProbeShop(), {"preset": "mild", "position": 0.1, "ordinary": -1.0})
    assert (given.position, given.ordinary, given.level) == (0.1, -1.0, PRESETS["mild"].level)


def pages_and_sessions(shop: AdShoppers, bad: bool, num_sessions: int) -> tuple[Tensor, Tensor]:
    """Pages and sessions of each shopper, two of ten slots with an ad where ``bad``."""
    inner: Any = shop.inner
    order_I, worst_I = inner.fame.argsort(descending=True), inner.goods.appeal.argsort()
    simulator = Simulator(
        shop, num_slots=SLOTS, num_sessions=num_sessions, expected_revenue=False
    )  # fmt: skip
    seed_N = torch.arange(1500)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    alive_N = torch.ones(1500, dtype=torch.bool)
    pages_N, sessions_N = torch.zeros(1500), torch.zeros(1500)
    for number in range(60):
        item_K = order_I[10 * (number % 6) : 10 * (number % 6) + SLOTS].clone()
        item_K[list(AD_SLOTS)] = worst_I[[2 * number % 20, (2 * number + 1) % 20]]
        page = simulator.page(state, item_K.expand(1500, -1))
        ads_K = torch.isin(torch.arange(SLOTS), torch.tensor(AD_SLOTS)) & torch.tensor(bad)
        page = dataclasses.replace(page, sponsored=ads_K.expand(1500, -1))
        state, outcome = simulator.step(state, page)
        pages_N, sessions_N = pages_N + alive_N, sessions_N + (alive_N & outcome.left)
        alive_N = alive_N & ~outcome.gone
    return pages_N, sessions_N


@pytest.mark.parametrize(
    ("preset", "least", "most"), [("mild", 0.02, 0.07), ("strong", 0.20, 0.33)]
)
def test_presets_shorten_sessions_by_what_their_names_promise(
    preset: str, least: float, most: float
) -> None:
    # Why: the presets' numbers have no source but their effect. Two irrelevant ads of ten slots on
    # every page cost some 4 % of the pages (mild), some 27 % (strong); 1,500 shoppers meet both.
    inner = TasteShop()
    ads, _ = pages_and_sessions(AdShoppers(inner, preset), True, 1)
    same, _ = pages_and_sessions(AdShoppers(inner, preset), False, 1)
    lost = 1.0 - float(ads.sum() / same.sum())
    assert least < lost < most


def test_where_shoppers_come_back_strong_effects_keep_them_away() -> None:
    # Why: the cost of ads that a short-sighted platform does not see.
    knobs = {"returns": True, "return_base": -0.5, "return_weight": 5.0}
    shop = AdShoppers(TasteShop(**knobs), "strong")  # type: ignore[arg-type]
    ads, same = (pages_and_sessions(shop, bad, 5)[1] for bad in (True, False))
    difference_N = same - ads
    error = float(difference_N.std()) / len(difference_N) ** 0.5
    assert float(difference_N.mean()) > 3 * error > 0


@pytest.mark.parametrize(
    ("law", "message"),
    [
        ("loud", "ads.law='loud' is no preset: expected one of none, mild, strong"),
        ({"preset": "mild", "leave": -1.0}, r"ads.law.leave=-1.0: expected a number of at least 0"),
        ({"memory": 1.5}, r"ads.law.memory=1.5: expected a number from 0 to 1"),
        ({"anger": 1.0}, r"ads.law.anger is no setting: expected back"),
        ({"rest_days": 0.0}, r"ads.law.rest_days=0.0: expected a number of at least 1e-12"),
    ],
)
def test_a_law_without_meaning_is_refused_in_a_sentence(law: Any, message: str) -> None:
    # Why: a wrong number would show only as an odd result.
    with pytest.raises(UserError, match=message):
        AdLaw.of(law)
