"""agents.wolpertinger: the nearest by hand, what moves the actor, and a corner of 100,000 items."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from large import play
from probe_model import MODEL, SLOTS, ProbeModel, agent_named, first_pages, made
from test_probes import ENOUGH, KEEN, learned
from torch import Tensor

from agents.wolpertinger import Pointer, nearest
from recgym.envs.core import ShopCore
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Outcome


def test_the_nearest_by_hand() -> None:
    # Why: from (1, 1) items lie at squared distances 2, 1, 0.25 and 8: by the inner product item 3
    # would come first. From (9, 9) it does; what may not be shown is none of them.
    vector = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.5], [3.0, 3.0]])
    query, allowed = torch.tensor([[1.0, 1.0], [9.0, 9.0]]), torch.ones(2, 4, dtype=torch.bool)
    square = vector.square().sum(-1)
    assert nearest(query, vector, square, allowed, 3).tolist() == [[2, 1, 0], [3, 2, 1]]
    allowed[0, :3] = False
    assert nearest(query, vector, square, allowed, 3).tolist() == [[3, -1, -1], [3, 2, 1]]


def test_the_actor_begins_in_the_middle_and_reaches_as_far_as_items_lie() -> None:
    # Why: by hand, vectors 0 and 4 have the mean 2 and the deviation 8 ** 0.5, so that f(s) lies
    # within 3 of these of 2, whatever the state.
    pointer = Pointer(1, torch.tensor([[0.0], [4.0]]), hidden=4)
    with torch.no_grad():
        pointer.actor[0].weight.fill_(1.0)
        pointer.actor[0].bias.fill_(10.0)  # no state lies at the edge of the ReLU
        pointer.actor[2].weight.fill_(1e3)
        pointer.actor[2].bias.fill_(1.0)
        far = pointer.proto(torch.tensor([[0.0], [9.0], [-9.0]]))
        pointer.actor[2].weight.zero_()
        pointer.actor[2].bias.zero_()
    assert far.tolist() == [[pytest.approx(2 + 3 * 8**0.5)]] * 3
    assert pointer.proto(torch.zeros(1, 1)).item() == 2.0


def taught(agent: Any, near: list[int], added: list[float]) -> dict[str, Tensor]:
    """A row of an update, of which nothing was viewed and nothing follows."""
    feature = first_pages(1).feature
    near_1J = torch.tensor([near])
    return {
        "feature": feature,
        "chosen": torch.tensor([-1]),
        "viewed": torch.tensor([False]),
        "sold": torch.zeros(1, 4),
        "reward": torch.tensor([0.0]),
        "discount": torch.tensor([0.0]),
        "next_feature": feature,
        "candidate": near_1J,
        "added": torch.tensor([added]),
        "taken": torch.zeros(1, len(near)),
        "next_sold": torch.zeros(1, len(near), 4),
        "go_on": torch.tensor([0.5]),
        "near": near_1J,
        "near_added": torch.tensor([added]),
        "near_sold": torch.eye(4)[: len(near)].unsqueeze(0),
        "near_go_on": torch.tensor([1.0]),  # all go on, whatever stands on the page
    }


def test_what_the_second_critic_is_taught_by_hand() -> None:
    # Why: one slot, and sales weigh 3 and 1: items 0 and 1 add 0.5 each, so the best page has
    # lambda = 0.5 · 3 / 1.5 = 1, and they score 0.5 (3 - 1) = 1 and 0.5 (1 - 1) = 0, of mean size
    # 1/2: taught are 2 and 0. Item 2 adds nothing, as what may not be shown: not taught. W is 0,
    # so that Huber's losses are 1.5 and 0, of mean 0.75.
    agent = agent_named("wolpertinger", num_retrieved=3)
    agent.num_slots = 1
    with torch.no_grad():
        for module in (agent.network, agent.pointer.rest, agent.pointer.of_item):
            for parameter in module.parameters():
                parameter.zero_()
        agent.network.sales.bias.copy_(torch.tensor([3.0, 1.0, 9.0, 0.0, 0.0]))
    agent.optimiser.param_groups[0]["lr"] = 0.0
    said = agent._update(taught(agent, [0, 1, 2], [0.5, 0.5, 0.0]))
    assert said["pointing_loss"].item() == pytest.approx(0.75, abs=1e-5)


def test_the_actor_climbs_its_critic_and_does_not_move_it() -> None:
    # Why: W read at f(s) must not be taught that f(s) is good, and Q has no part in it. Here W
    # falls with the first number of a vector, so f goes down in it.
    agent = agent_named("wolpertinger", num_retrieved=3, actor_rate=1e-3)
    with torch.no_grad():
        for module in (agent.pointer.rest, agent.pointer.of_item, agent.pointer.of_state):
            for parameter in module.parameters():
                parameter.zero_()
        agent.pointer.of_item.weight[0, 0] = -1.0
        agent.pointer.of_item.bias[0] = 50.0  # away from the edge of the first ReLU
        agent.pointer.rest[1].weight[0, 0] = agent.pointer.rest[3].weight[0, 0] = 1.0
    feature = first_pages(4).feature
    before = agent.pointer.proto(feature)[:, 0].detach()
    agent.pointing.zero_grad()
    agent._point(feature)
    moved = {name for name, each in agent.pointer.named_parameters() if each.grad is not None}
    assert moved == {f"actor.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    agent.pointing.step()
    assert bool((agent.pointer.proto(feature)[:, 0] < before).all())


def test_pages_are_chosen_among_the_nearest_alone() -> None:
    # Why: that is what makes a page of a large catalogue cheap.
    agent, page = agent_named("wolpertinger", num_retrieved=4), first_pages(8)
    near_NM = torch.cdist(agent.pointer.proto(page.feature), MODEL.tables.vector_ID).argsort(-1)
    item_NK = agent.act(page)
    assert bool((item_NK.unsqueeze(-1) == near_NM[:, None, :4]).any(-1).all())
    assert item_NK.shape == (8, SLOTS)


def test_it_points_at_what_sells_where_retrieval_knows_nothing_of_it() -> None:
    # Why: three of six items are looked at. The user model, which knows nothing of what sells,
    # retrieves too few of the good ones, whatever is then learned of them; an actor learns where
    # they are. (Not where good
    # ones differ from state to state: see the module's docstring.)
    reached = learned("wolpertinger", "price", 100, **KEEN, num_retrieved=3, actor_rate=3e-3)
    assert reached >= ENOUGH
    assert learned("reranking", "price", 40, **KEEN, num_retrieved=3) < 0.9


def test_the_actor_finds_a_corner_of_100_000_items() -> None:
    # Why: 32 of 100,000 items are looked at on each page, and which ones depends on the shopper:
    # what a click is worth rises along one direction for one kind and falls for the other. The same
    # critic, with an actor that has learned nothing, finds no page that is half as good.
    model = ProbeModel(100_000)
    simulator = Simulator(model, encoder=model, num_slots=SLOTS, expected_revenue=False)
    spec = ObservationSpec(simulator, "encoder")
    along_I = model.tables.vector_ID @ torch.tensor([1.0, -1.0, 0.5, 0.0, 1.0, -0.5])
    worth_2I = 5.0 * torch.stack([along_I, -along_I]).clamp(min=0.0)

    def paid(outcome: Outcome) -> Tensor:
        kind_N = core.state.arrival.profile[:, 0].long()
        worth_N = worth_2I[kind_N, outcome.event.item.clamp(min=0)]
        return torch.where(outcome.event.slot >= 0, worth_N, 0.0)

    core = ShopCore(spec, paid, num_envs=16, max_pages=5)
    agent = made(
        "wolpertinger", model, spec, gamma=0.0, learning_rate=3e-3, actor_rate=3e-3, updates=6,
        epsilon=(1.0, 0.3), epsilon_steps=50, num_retrieved=32,
    )  # fmt: skip
    play(agent, core, 60)
    seed = torch.arange(100)
    page = spec.observe(spec.simulator.reset(seed, torch.zeros_like(seed)))
    kind_N = page.arrival.profile[:, 0].long()
    best_N = worth_2I.topk(SLOTS).values.sum(-1)[kind_N]

    def reached() -> float:
        shown_N = worth_2I[kind_N.unsqueeze(-1), agent.act(page)].sum(-1)
        return float((shown_N / best_N).mean())

    assert reached() >= 0.9
    agent.pointer = Pointer(spec.num_features, model.tables.vector_ID, 32)
    assert reached() < 0.5
