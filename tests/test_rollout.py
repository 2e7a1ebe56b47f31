"""recgym.rollout: sessions are played once each, the same for any number of lanes."""

from __future__ import annotations

import dataclasses

import torch
from probe_shop import ProbeShop

from agents.baselines import Popular, Random
from recgym.logging_policy import EmptyPages
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Outcome, SessionStats
from recgym.worlds.taste import TasteShop

D = torch.float64
SEED = torch.arange(300) % 60
SESSION = torch.arange(300) // 60


def spec_of(shop: object) -> ObservationSpec:
    simulator = Simulator(shop, num_slots=3, dtype=D)  # type: ignore[arg-type]
    return ObservationSpec(simulator, "history")


def test_statistics_do_not_depend_on_the_number_of_lanes() -> None:
    # Why: lanes are refilled as sessions end, and none may be lost, mixed up or played twice.
    spec = spec_of(TasteShop(num_items=40, dtype=D))
    policy = Random(num_slots=3)
    one = rollout(spec, policy, SEED, SESSION, lanes=7)
    other = rollout(spec, policy, SEED, SESSION, lanes=300)
    for field in dataclasses.fields(SessionStats):
        a, b = getattr(one, field.name), getattr(other, field.name)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    assert torch.equal(one.shopper, SEED)


def test_a_policy_against_itself_differs_by_exactly_nothing() -> None:
    # Why: common random numbers; any other number here would be noise passed off as a gain.
    spec = spec_of(TasteShop(num_items=40, dtype=D))
    policy = Popular(torch.arange(40), num_slots=3)
    runs = [rollout(spec, policy, SEED, SESSION, lanes=64).revenue for _ in range(2)]
    assert (runs[0] - runs[1]).abs().max().item() == 0.0


def test_statistics_are_the_sums_of_the_steps() -> None:
    # Why: summed a second time here, session by session, from the outcomes.
    spec = spec_of(ProbeShop(dtype=D))
    pages, revenue, clicks = torch.zeros(300), torch.zeros(300, dtype=D), torch.zeros(300)

    def add(index_N: torch.Tensor, state: object, seen: Observation, outcome: Outcome) -> None:
        for lane, row in enumerate(index_N.tolist()):
            pages[row] += 1
            revenue[row] += outcome.revenue[lane]
            clicks[row] += outcome.clicked[lane]

    stats = rollout(spec, Random(num_slots=3), SEED, SESSION, lanes=50, on_step=add)
    assert torch.equal(stats.pages.float(), pages)
    torch.testing.assert_close(stats.revenue, revenue)
    assert torch.equal(stats.clicks.float(), clicks)
    # each session has one page that was left, and no page holds more than its 3 slots
    assert bool((stats.views < stats.pages).all()) and bool((stats.impressions <= 3 * pages).all())


def test_long_sessions_are_cut_and_progress_counts_each_session_once() -> None:
    # Why: a shopper that never leaves must not hang a run.
    spec, heard = spec_of(ProbeShop(dtype=D)), []
    stats = rollout(
        spec, EmptyPages(3), SEED, SESSION, lanes=32, max_pages=2, progress=heard.append
    )
    assert stats.pages.max().item() == 2 and sum(heard) == 300
    assert stats.impressions.sum().item() == 0 and stats.clicks.sum().item() == 0
