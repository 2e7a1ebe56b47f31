"""agents.recurrent_dqn: what it reads by hand, in which order, and whom only events tell apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from large import play
from probe_model import SLOTS, agent_named, first_pages, made
from probes import PROBES, Probe, Taste, _state
from torch import Tensor, nn

from agents.recurrent_dqn import events, last_state
from recgym.envs.core import ShopCore
from recgym.rollout import rollout
from recgym.types import After, Arrival, Observation, SessionStats


def viewed(page: Observation, **history: list[float]) -> Observation:
    """The page with these views, the newest first, after as many pages as there are."""
    visit = page.visit
    kept, gap, count = visit.history.clone(), visit.history_gap.clone(), len(history["item"])
    for row, name in enumerate(("item", "slot", "after")):
        kept[:, row, :count] = torch.tensor(history[name]).long()
    gap[:, :count] = torch.tensor(history["gap"])
    recent = visit.recent_item.clone()
    recent[:, 0] = 5  # alone on the last page
    visit = dataclasses.replace(
        visit, history=kept, history_gap=gap, recent_item=recent, page_number=visit.page_number + 2
    )
    return dataclasses.replace(page, visit=visit)


BOUGHT = {"item": [7, 2], "slot": [1, -1], "after": [int(After.BUY), 0], "gap": [0.0, 0.0]}


def test_what_is_read_by_hand() -> None:
    # Why: item 7 was clicked and bought e^5 - 1 seconds after item 2 was found alone; all cost 10,
    # half of the middle price of 20. Views come first, then the number of pages and their items.
    page = viewed(first_pages(1), **{**BOUGHT, "gap": [torch.tensor(5.0).exp().item() - 1, 0.0]})
    row = events(page, torch.tensor(10.0), torch.tensor(20.0))[0]
    num_profile, half = page.arrival.profile.shape[1], -0.693147
    view_LC = row[num_profile + 8 : num_profile + 48].view(8, 5)
    assert view_LC[0].tolist() == pytest.approx([7.0, 1.0, 3.0, 1.0, half], abs=1e-5)
    assert view_LC[1].tolist() == pytest.approx([2.0, 0.0, 0.0, 0.0, half], abs=1e-5)
    assert bool((view_LC[2:] == torch.tensor([-1.0, 0.0, 0.0, 0.0, 0.0])).all())
    assert row[num_profile + 48 :].tolist() == [2.0, 5.0, *[-1.0] * (5 * SLOTS - 1)]


def test_the_state_is_that_after_the_oldest_to_the_newest() -> None:
    # Why: tokens lie the newest first, and those that were not must not move the state: by running
    # the LSTM by hand over 2, then 1, then 0; and none has moved it before a first view.
    lstm = nn.LSTM(3, 4, batch_first=True)
    token_3X = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([token_3X, torch.full((2, 3), 9.0)])
    expected = lstm(token_3X.flip(0).unsqueeze(0))[0][0, -1]
    both = last_state(lstm, torch.stack([padded, padded]), torch.tensor([3, 0]))
    assert torch.allclose(both[0], expected, atol=1e-6) and both[1].tolist() == [0.0] * 4


def test_it_reads_events_and_not_the_encoded_state() -> None:
    # Why: the state is learned end to end; the user model's is what `agent=dqn` reads.
    agent, page = agent_named("recurrent_dqn"), viewed(first_pages(4), **BOUGHT)

    def value(read: Observation) -> Tensor:
        null: Tensor = agent._values(read, False).null
        return null

    before = value(page)
    other = dataclasses.replace(page, feature=torch.randn_like(page.feature))
    assert torch.equal(value(other), before)
    for name, changed in (("item", [2, 7]), ("after", [0, 3]), ("slot", [-1, 1]), ("gap", [1, 0])):
        moved = value(viewed(first_pages(4), **{**BOUGHT, name: changed}))
        assert bool((moved != before).all()), name
    assert not torch.equal(value(first_pages(4)), before)


class Hidden(Taste):
    """The shoppers of `Taste`, whose kind only what they buy tells: no profile and no encoder."""

    def arrival_of(self, kind_N: Tensor, seed_N: Tensor, session_N: Tensor) -> Arrival:
        arrival = super().arrival_of(kind_N, seed_N, session_N)
        return dataclasses.replace(arrival, profile=torch.zeros_like(arrival.profile))

    def init_state(self, arrival: Arrival) -> Any:
        kind_N = (arrival.seed + arrival.session) % self.num_kinds
        known = super().arrival_of(kind_N, arrival.seed, arrival.session)
        return _state(torch.zeros(len(kind_N), self.num_encoded), known.profile)

    def encode(self, state: Any) -> Tensor:
        return torch.zeros_like(state.h)


def trained(probe: Probe, steps: int, **changed: Any) -> Any:
    keen = {"learning_rate": 3e-3, "epsilon": (1.0, 0.2), "epsilon_steps": 80, "recurrent": 16}
    agent = made("recurrent_dqn", probe.model, probe.spec, **{**keen, **changed})
    play(agent, ShopCore(probe.spec, "chosen_revenue", num_envs=256), steps)
    return agent


def value(agent: Any, probe: Probe, lanes: int) -> SessionStats:
    seed = torch.arange(1_000)
    return rollout(probe.spec, agent, seed, torch.zeros_like(seed), lanes=lanes)


@pytest.mark.parametrize("shop", ["delayed", "fatigue"])
def test_it_solves_shops_that_ask_for_the_past(shop: str) -> None:
    # Why: what was bought, and what stood on the last page, stand in the events alone. Valued by
    # playing sessions in lanes that are refilled, the expected revenue of whose pages adds up.
    probe = PROBES[shop]
    reached = value(trained(probe, 150), probe, 500).credited_revenue.mean()
    assert reached >= 0.95 * probe.optimum


def test_purchases_tell_shoppers_apart_whom_nothing_else_does() -> None:
    # Why: by hand, whoever remembers nothing earns 0.4 · (9 + 1) = 4 a page by items 0 and 3, 12 a
    # session. One of these is bought with 0.36 + 0.04 a page, and a buyer is of that kind by 0.9,
    # whose page then brings 0.9 · 6.8 + 0.1 · 0.8 = 6.2: pages of 4, 0.4 · 6.2 + 0.6 · 4 = 4.88 and
    # 0.64 · 6.2 + 0.36 · 4 = 5.408 make 14.288, and clicks that sell nothing tell more than that.
    probe = Hidden()
    # what is to be learned is whom a purchase tells of, and not what a page leads to
    often = {"gamma": 0.0, "updates": 8, "batch_size": 256, "learning_rate": 1e-2}
    agent = trained(probe, 40, **often, epsilon=(1.0, 0.6), recurrent=8, item_size=8)
    stats = value(agent, probe, 500)
    assert 14.288 <= stats.credited_revenue.mean() < 20.4
    # a state is a function of the observation: lanes that are refilled change nothing
    assert torch.allclose(value(agent, probe, 37).revenue, stats.revenue)
