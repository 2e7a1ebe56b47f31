"""agents.reranking: the best of what is retrieved, and memory that no catalogue fills."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from large import Largest, play
from probe_model import MODEL, SLOTS, agent_named, first_pages, made
from probe_shop import learned_shop

from agents import outlook
from agents.outlook import Retriever, in_parts, outlook_of
from experiments.speed import shops
from recgym.envs.core import ShopCore
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation
from recgym.users.lstm import LSTMUserModel


def weighing(agent: Any) -> Any:
    """An item's advantage is its vector's first number, in both networks, and Q0 is 0."""
    with torch.no_grad():
        for network in (agent.network, agent.target):
            for parameter in network.parameters():
                parameter.zero_()
            network.taste.bias[0] = 1.0
    return agent


def test_the_best_of_what_is_retrieved_by_hand() -> None:
    # Why: all items are found alone and sell alike, so that retrieval takes any five; the slate is
    # the three of these whose vectors begin with the most, though others of the 20 have more.
    agent = weighing(agent_named("reranking", num_retrieved=5))
    page = first_pages(4)
    item_NM, _ = agent._retrieved(page)
    first_NM = MODEL.tables.vector_ID[item_NM, 0]
    best_NK = item_NM.gather(-1, first_NM.topk(SLOTS).indices)
    assert torch.equal(agent.act(page).sort(-1).values, best_NK.sort(-1).values)
    everything = weighing(agent_named("dqn")).act(page)
    assert set(everything[0].tolist()) == set(MODEL.tables.vector_ID[:, 0].topk(3).indices.tolist())
    assert not set(everything[0].tolist()) <= set(item_NM[0].tolist())


def test_with_all_items_retrieved_it_is_dqn() -> None:
    # Why: one way to choose, whatever it chooses among; what is stored of a next state is the same.
    seen = [weighing(agent_named(name)) for name in ("dqn", "reranking")]
    page = first_pages(6)
    assert torch.equal(seen[0].act(page), seen[1].act(page))
    first, second = (agent._candidates(page) for agent in seen)
    assert torch.equal(first["candidate"], second["candidate"])
    for name, value in first.items():
        assert torch.allclose(value, second[name]), name


def test_of_too_few_items_the_rest_of_the_page_is_empty() -> None:
    # Why: what is retrieved holds -1 where fewer may be shown, which no slot and no target takes.
    page = first_pages(4)
    few = torch.zeros_like(page.eligible)
    few[:, [2, 5]] = True
    page = dataclasses.replace(page, eligible=few)
    agent = agent_named("reranking", num_retrieved=5)
    assert agent.act(page)[:, :2].sort(-1).values.tolist() == [[2, 5]] * 4
    assert agent.act(page)[:, 2].tolist() == [-1] * 4
    assert (agent._candidates(page)["added"] > 0).sum(-1).tolist() == [2] * 4


def core_of(model: LSTMUserModel, num: int, num_slots: int = 3) -> ShopCore:
    simulator = Simulator(
        model, encoder=model, num_slots=num_slots, expected_revenue=False, dtype=model.profile.dtype
    )
    return ShopCore(ObservationSpec(simulator, "encoder"), num_envs=num)


def pages(model: LSTMUserModel, num: int) -> Observation:
    core = core_of(model, num)
    observation = core.reset(0)
    for number in range(3):  # on, so that carts, fatigue and beliefs have something in them
        shown_NK = (torch.arange(num).unsqueeze(-1) + number + 7 * torch.arange(3)) % 40
        observation = core.step(shown_NK).observation
    return observation


def test_the_outlook_of_some_items_is_theirs_in_that_of_all() -> None:
    # Why: agents of large catalogues ask for what they retrieved alone. -1 adds and takes nothing.
    model = learned_shop(torch.float64)
    spec_page = pages(model, 9)
    whole = outlook.outlook(model, spec_page)
    item_NJ = torch.tensor([[3, 39, -1, 0, 17]]).expand(9, -1)
    some = outlook_of(model, spec_page, item_NJ)
    for name in ("added", "taken"):
        expected_NJ = getattr(whole, name).gather(-1, item_NJ.clamp(min=0)) * (item_NJ >= 0)
        assert torch.allclose(getattr(some, name), expected_NJ, rtol=1e-6, atol=1e-12), name
    kept = [0, 1, 3, 4]
    assert torch.allclose(some.sold[:, kept], whole.sold[:, item_NJ[0, kept]])
    assert torch.equal(some.go_on, whole.go_on)


def test_lanes_asked_for_some_after_others_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: bounded memory must not move a result. 40 items of 9 lanes, 100 cells: two at a time.
    model = learned_shop()
    page = pages(model, 9)
    whole = Retriever(model, 0.3, 5)(page)
    monkeypatch.setattr(outlook, "CELLS", 100)
    sizes = []

    def told(part: Observation) -> torch.Tensor:
        sizes.append(len(part.feature))
        return part.feature

    assert torch.equal(in_parts(page, told, 40), page.feature) and sizes == [2, 2, 2, 2, 1]
    parted = Retriever(model, 0.3, 5)(page)
    assert torch.equal(parted.item, whole.item)
    for name in ("sign", "go_on", "added", "taken"):
        assert torch.allclose(getattr(parted, name), getattr(whole, name), atol=1e-5), name


@pytest.mark.parametrize("name", ["dqn", "reranking", "wolpertinger", "ppo"])
def test_memory_does_not_grow_with_lanes_times_items(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: an evaluation has 4,096 lanes, which times 100,000 items is 1.6 GB a tensor. 256 lanes
    # times 2,000 items are 512,000; eight lanes at a time are 16,000 (64,000 with four features
    # each), and what is left is what no lane adds to: 2,000 items of 64 products of tastes.
    model = shops.learned(2_000, hidden=8, embedding=4)
    core = core_of(model, 256)
    small = {} if name == "ppo" else {"capacity": 256}
    if name in ("reranking", "wolpertinger"):
        small |= {"num_retrieved": 16}
    agent = made(name, model, core.spec, **small)
    monkeypatch.setattr(outlook, "CELLS", 16_000)
    with Largest() as largest:
        play(agent, core, 1)
    assert largest.numbers <= 2_000 * 64
    monkeypatch.setattr(outlook, "CELLS", 1 << 23)
    with Largest() as largest:
        agent.act(core.observation)
    assert largest.numbers >= 512_000


@pytest.fixture(scope="module")
def large() -> LSTMUserModel:
    return shops.learned(100_000, hidden=16, embedding=8)


@pytest.mark.parametrize("name", ["reranking", "wolpertinger"])
def test_it_acts_and_learns_among_100_000_items(name: str, large: LSTMUserModel) -> None:
    # Why: what it is made for. All is finite, and pages hold items of the whole catalogue.
    core = core_of(large, 16, num_slots=10)
    agent = made(name, large, core.spec, learning_starts=16)
    before = agent.network.null.weight.clone()
    said = play(agent, core, 3)
    assert all(bool(value.isfinite()) for value in said.values())
    assert not torch.equal(agent.network.null.weight, before)
    item_NK = agent.act(core.observation)
    assert item_NK.shape == (16, 10) and bool((item_NK >= 0).all())
    assert all(len(set(row)) == 10 for row in item_NK.tolist()) and int(item_NK.max()) > 2_000
