"""Several sessions a shopper: who comes back, when, with what, and who does not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from probe_shop import ProbeShop, learned_shop
from torch import Tensor

from agents.baselines import Random
from recgym.envs.core import ShopCore, open_core
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.logging_policy import EmptyPages
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import NUM_PAST, ObservationSpec
from recgym.types import After, Arrival, Event, Kind, Observation, Outcome, Page, SessionStats
from recgym.worlds import loyalty
from recgym.worlds.knobs import Knobs
from recgym.worlds.taste import TasteShop

D = torch.float64
SLOTS, SESSIONS, LANES = 3, 4, 400
SEED = torch.arange(LANES)


def loyal(**changed: Any) -> TasteShop:
    """A small shop whose shoppers come back, the contenter the likelier."""
    knobs = {"num_items": 40, "returns": True, "return_base": -0.5, "return_weight": 5.0}
    return TasteShop(dtype=D, **{**knobs, "content_kind": 0.5, **changed})


def spec_of(shop: TasteShop, num_sessions: int = SESSIONS) -> ObservationSpec:
    simulator = Simulator(shop, num_slots=SLOTS, num_sessions=num_sessions, dtype=D)
    return ObservationSpec(simulator, "history")


def played(spec: ObservationSpec, policy: Any, **kwargs: Any) -> SessionStats:
    return rollout(spec, policy, SEED, torch.zeros_like(SEED), **kwargs)


def equal(a: Record, b: Record) -> bool:
    """Whether all tensors of two records are the same to the bit."""
    pairs = [(value, getattr(b, name)) for name, value in vars(a).items()]
    return all(
        torch.equal(x, y) if isinstance(x, Tensor) else x is y or equal(x, y) for x, y in pairs
    )


def test_contentment_by_hand() -> None:
    # Why: the law that a learned shop will have to find. Page 1 is clicked and ordered on, half of
    # it repeats: 0.5 + 0.4 - 0.25 = 0.65; page 2 is left alone and all of it repeats: -0.5. At a
    # rate of 0.2 from 0: 0.13, then 0.13 + 0.2 (-0.5 - 0.13) = 0.004; leaving looks at nothing.
    knobs = Knobs(returns=True, content_order=0.4, return_base=-1.0, return_weight=4.0)
    page, recent = Page(torch.tensor([[1, 2]]), torch.ones(1, 2)), torch.tensor([[2, 7]])
    content, nothing = torch.zeros(1, dtype=D), torch.zeros(1, dtype=D)
    seen = []
    for kind, slot, after, shown in (
        (Kind.VIEW, 0, After.BUY, recent),
        (Kind.VIEW, -1, After.NOTHING, torch.tensor([[2, 1]])),
        (Kind.LEAVE, -1, After.NOTHING, torch.tensor([[2, 1]])),
    ):
        event = Event(*[torch.tensor([int(x)]) for x in (kind, 1, slot, after)], *[nothing] * 3)
        like = loyalty.page_like(knobs, torch.tensor([0.5]), page, event, shown)
        content = loyalty.next_content(knobs, content, like, event)
        seen.append(content.item())
    assert seen == pytest.approx([0.13, 0.004, 0.004])
    law = loyalty.return_law(knobs, torch.tensor([0.5], dtype=D))
    assert law.logit.item() == 1.0  # -1 + 4 * 0.5
    assert law.mean.item() == pytest.approx(math.log(5.0)) and law.std.item() == 0.8
    most = loyalty.page_like(knobs, torch.tensor([7.0]), page, event, recent)
    assert (
        most.item() == pytest.approx(-0.25)
        and loyalty.kinds(
            dataclasses.replace(knobs, num_categories=3), torch.device("cpu"), D
        ).tolist()
        == [0.5] * 3
    )


def test_at_one_session_coming_back_changes_nothing() -> None:
    # Why: every figure so far is of one session; the knobs alone may not move them.
    plain = TasteShop(dtype=D, num_items=40)
    sides = [played(spec_of(shop, 1), Random(num_slots=SLOTS)) for shop in (plain, loyal())]
    assert equal(*sides)
    assert spec_of(loyal()).num_features == spec_of(plain, 1).num_features + NUM_PAST


class Ends:
    """What stood at the ends of sessions."""

    def __init__(self, shop: TasteShop) -> None:
        self.shop = shop
        self.parts: dict[str, list[Tensor]] = {}
        self.begun: dict[tuple[int, int], tuple[int, float, float]] = {}

    def __call__(
        self, index_N: Tensor, state: SimState, seen: Observation, outcome: Outcome
    ) -> None:
        assert state.visit.past is not None and state.user.content is not None  # type: ignore[attr-defined]
        past, left_N = state.visit.past, outcome.left
        logit = self.shop.returning(state.user, state.visit).logit  # type: ignore[arg-type]
        rows = {
            "chance": torch.sigmoid(logit),
            "back": ~outcome.gone,
            "last": past.sessions == SESSIONS - 1,
        }
        for name, value in rows.items():
            self.parts.setdefault(name, []).append(value[left_N])
        for lane in (state.visit.page_number == 0).nonzero().squeeze(-1).tolist():
            row = int(index_N[lane]), int(past.sessions[lane])
            cart = float(state.visit.cart_value()[lane])
            self.begun[row] = int(state.visit.time_ms[lane]), float(past.away[lane]), cart

    def joined(self, name: str) -> Tensor:
        return torch.cat(self.parts[name])


def test_shoppers_come_back_as_often_and_as_late_as_the_law_says() -> None:
    # Why: counted here from the outcomes; 5 days are the median, log days have sd 0.8.
    shop = loyal()
    ends = Ends(shop)
    played(spec_of(shop), Random(num_slots=SLOTS), on_step=ends)
    chance, back = ends.joined("chance"), ends.joined("back")
    free = ~ends.joined("last")
    assert not bool(back[~free].any()) and int((~free).sum()) > 5  # none after the last session
    error = (chance[free] * (1 - chance[free])).sum().sqrt()
    assert abs(back[free].sum() - chance[free].sum()) < 3 * error
    # contentment tells who
    assert chance[free & back].mean() > chance[free & ~back].mean()
    days = torch.tensor([away for (_, number), (_, away, _) in ends.begun.items() if number])
    assert len(days) > 150
    assert float(days.log().mean()) == pytest.approx(math.log(5.0), abs=0.25)
    assert float(days.log().std()) == pytest.approx(0.8, abs=0.15)
    # the calendar moves by as many days, and carts are still there
    for (row, number), (start, away, _) in ends.begun.items():
        if number:
            assert start - ends.begun[row, number - 1][0] >= away * 86_400_000 * 0.999
    assert sum(cart > 0 for *_, cart in ends.begun.values()) > 10


def test_statistics_of_shoppers_do_not_depend_on_the_number_of_lanes() -> None:
    # Why: lanes are refilled when a shopper is gone, not when a session ends.
    spec, heard = spec_of(loyal()), []
    one = played(spec, Random(num_slots=SLOTS), lanes=90, progress=heard.append)
    other = played(spec, Random(num_slots=SLOTS), lanes=LANES)
    for name, value in vars(one).items():
        torch.testing.assert_close(value, getattr(other, name), rtol=0, atol=1e-9)
    assert one.sessions is not None and one.converted is not None and sum(heard) == LANES
    assert one.sessions.min() == 1 and one.sessions.max() == SESSIONS
    assert bool((one.converted <= one.sessions).all())
    assert bool(((one.converted > 0) == (one.orders > 0)).all())
    cut = played(spec, EmptyPages(SLOTS), max_pages=1)
    assert cut.sessions is not None and bool((cut.sessions == 1).all())


@pytest.mark.parametrize("max_pages", [1000, 3])
def test_credits_of_carts_are_settled_however_an_episode_ends(max_pages: int) -> None:
    # Why: carts live on from session to session, and a credit that nothing takes back is invented
    # money: with it the mean would be 20 to 60 % too high here. In all three ways to end.
    stats = played(spec_of(loyal(cart=-2.0)), Random(num_slots=SLOTS), max_pages=max_pages)
    gap = stats.credited_revenue - stats.revenue
    assert stats.carts.sum() > 100 and gap.std() > 0
    assert abs(gap.mean()) < 3.5 * gap.std() / LANES**0.5


def test_without_long_term_effects_the_page_does_not_decide_who_comes_back() -> None:
    # Why: the effect switched off must be off: other pages, and yet the same sessions, at the odds
    # of a logit of -0.5 alone, e^-0.5 / (1 + e^-0.5) = 0.3775.
    spec = spec_of(loyal(long_term=False))
    full, empty = (played(spec, p) for p in (Random(num_slots=SLOTS), EmptyPages(SLOTS)))
    assert full.sessions is not None and empty.sessions is not None
    assert torch.equal(full.sessions, empty.sessions) and torch.equal(full.pages, empty.pages)
    assert full.clicks.sum() > 0 and empty.clicks.sum() == 0
    share = float((full.sessions > 1).double().mean())
    assert share == pytest.approx(0.3775, abs=0.075)  # three standard errors of 400 shoppers
    on = spec_of(loyal())
    first, second = (played(on, p).sessions for p in (Random(num_slots=SLOTS), EmptyPages(SLOTS)))
    assert first is not None and second is not None and not torch.equal(first, second)


def test_a_lane_replays_the_single_environment_over_several_sessions() -> None:
    # Why: lane i of seed s is `RecEnv` with seed s + i, auto-resets included.
    kwargs = {"shop": loyal(), "num_slots": SLOTS, "max_pages": 6, "num_sessions": 3}
    ours = gym.make_vec("RecGym/Slate-v0", num_envs=5, **kwargs)
    theirs = SyncVectorEnv(
        [lambda: gym.make("RecGym/Slate-v0", **kwargs).unwrapped] * 5,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    np.testing.assert_allclose(ours.reset(seed=7)[0], theirs.reset(seed=7)[0], atol=1e-5)
    rng, begun = np.random.default_rng(0), set()
    for _ in range(60):
        action = rng.integers(40, size=(5, SLOTS))
        first, second = ours.step(action), theirs.step(action)
        for a, b in zip(first[:4], second[:4], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        ended = first[2] | first[3]
        begun |= set(first[4].get("session", np.zeros(5))[ended].tolist())
    assert len(begun) > 2 and all(session % 3 == 0 for session in begun)


def test_a_session_that_another_follows_terminates_nothing() -> None:
    # Why: who bootstraps there on 0 learns that a shopper who comes back is worth nothing.
    core = ShopCore(spec_of(loyal()), num_envs=LANES, max_pages=200)
    core.reset(0)
    back = 0
    for _ in range(15):
        before = core.observation.arrival
        step = core.step(torch.randint(40, (LANES, SLOTS)))
        again = step.outcome.left & ~step.terminated
        back += int(again.sum())
        assert torch.equal(step.terminated, step.outcome.gone)
        now = step.final_observation
        assert torch.equal(now.arrival.session[again], before.session[again] + 1)
        assert bool((now.visit.page_number[again] == 0).all())
        assert torch.equal(core.observation.arrival.session[again], now.arrival.session[again])
        ended = core.observation.arrival.session[step.terminated]
        assert bool((ended % SESSIONS == 0).all())
    assert back > 100


def test_both_ways_of_beginning_a_session_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: a GPU and a compiled program take the way that no number of returning lanes decides.
    finals = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        core = open_core(loyal(), num_envs=64, num_slots=SLOTS, num_sessions=SESSIONS)
        core.reset(3)
        for page in range(12):
            core.step((torch.arange(SLOTS) + 7 * page).expand(64, -1) % 40)
        finals.append(core.state)
    assert equal(*finals) and bool((finals[0].arrival.session > 0).any())
    # and a killed run goes on with the counts too
    other = open_core(loyal(), num_envs=64, num_slots=SLOTS, num_sessions=SESSIONS)
    other.reset(9)
    other.load_state_dict(core.state_dict())
    assert equal(other.state, finals[0])


def test_what_a_policy_sees_begins_anew_but_for_cart_history_and_counts() -> None:
    # Why: the encoder is fitted on sessions that begin from nothing, so that is where it begins.
    model = learned_shop(D)

    class Narrow(TasteShop):
        """Of whose shoppers a site knows as much as the model reads."""

        def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
            whole = super().arrive(seed_N, session_N)
            return dataclasses.replace(whole, profile=whole.profile[:, :2])

    shop = Narrow(dtype=D, num_items=40, returns=True)
    spec = ObservationSpec(
        Simulator(shop, encoder=model, num_slots=SLOTS, num_sessions=3, dtype=D), "encoder"
    )
    core = ShopCore(spec, num_envs=128)
    core.reset(0)
    found = 0
    for page in range(10):
        step = core.step((torch.arange(SLOTS) + 3 * page).expand(128, -1))
        row = (step.outcome.left & ~step.terminated).nonzero().squeeze(-1)
        if len(row):
            now = step.final_observation.lanes(row)
            assert now.encoder is not None and now.visit.past is not None
            assert equal(now.encoder, model.init_state(now.arrival))
            assert bool((now.visit.past.before[:, 0] > 0).all())
            assert bool((now.visit.history_item[:, 0] >= 0).all())
            found += len(row)
    assert found > 20


@pytest.mark.parametrize(
    ("shop", "num_sessions", "message"),
    [
        (ProbeShop(), 2, "nobody comes back to this ProbeShop; use num_sessions=1, or a shop"),
        (TasteShop(num_items=40), 2, "nobody comes back to this TasteShop"),
        (TasteShop(num_items=40), 0, "num_sessions=0: expected at least 1"),
    ],
)
def test_where_nobody_comes_back_several_sessions_are_refused(
    shop: Any, num_sessions: int, message: str
) -> None:
    # Why: episodes would silently be one session long.
    with pytest.raises(UserError, match=message):
        gym.make("RecGym/Slate-v0", shop=shop, num_slots=2, num_sessions=num_sessions)
