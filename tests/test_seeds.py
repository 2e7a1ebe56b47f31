"""agents.seeds: many agents in one batch learn what each would alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from probe_model import MODEL, SPEC, first_pages, made
from torch import nn

from agents.logger import Logger
from agents.loop import train
from agents.seeds import SeedLinear, alone, clip_each, lane_seeds, policies, stacked
from recgym.envs.core import ShopCore
from recgym.errors import UserError

LANES, STEPS, SEEDS = 16, 12, 3


def test_a_layer_of_two_seeds_by_hand() -> None:
    # Why: the first half of the rows is of the first seed. (1, 2) · (3, 4) + 5 = 16 of the one, and
    # of the other (1, 2) · (-1, 1) + 0 = 1.
    layers = [nn.Linear(2, 1), nn.Linear(2, 1)]
    with torch.no_grad():
        for layer, weight, bias in zip(layers, ([3.0, 4.0], [-1.0, 1.0]), (5.0, 0.0), strict=True):
            layer.weight.copy_(torch.tensor([weight]))
            layer.bias.fill_(bias)
    both = stacked([nn.Sequential(layer) for layer in layers])
    assert isinstance(both[0], SeedLinear)
    assert both(torch.tensor([[1.0, 2.0]] * 2)).flatten().tolist() == [16.0, 1.0]
    assert alone(both, 1)(torch.tensor([[1.0, 2.0]])).item() == 1.0


def test_each_gradient_is_clipped_by_its_own_norm() -> None:
    # Why: one seed's burst must not slow the others. Norms by hand: (3, 4) is 5 and is brought to
    # 1, (0.3, 0.4) is 0.5 and stays.
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    clip_each([parameter], 1.0, 2)
    torch.testing.assert_close(parameter.grad, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


def test_lanes_are_those_that_each_agent_would_meet() -> None:
    # Why: 10 + (seed << 32) + lane, for the seeds 5 and 6 with two lanes each.
    first, second = 10 + (5 << 32), 10 + (6 << 32)
    assert lane_seeds(10, 5, 2, 4).tolist() == [first, first + 1, second, second + 1]


def trained(name: str, folder: Path, seed: int, num_seeds: int, **changed: Any) -> Any:
    agent = made(name, MODEL, SPEC, **{"num_seeds": num_seeds, **changed}, seed=seed)
    core = ShopCore(SPEC, "revenue", num_envs=num_seeds * LANES, max_pages=5)
    with Logger(folder) as logger:
        taken = train(agent, core, steps=LANES * STEPS, seed=seed, logger=logger, folder=folder)
    assert taken == LANES * STEPS  # of each
    return agent


@pytest.mark.parametrize("name", ["dqn", "qr_dqn", "ppo", "a2c"])
def test_many_seeds_learn_what_each_learns_alone(name: str, tmp_path: Path) -> None:
    # Why: a batch of seeds stands for as many runs in a table; all that may differ is rounding.
    changed: dict[str, Any] = {"n_step": 2} if name == "dqn" else {}
    together = trained(name, tmp_path, 4, SEEDS, **changed)
    for number in range(SEEDS):
        single = trained(name, tmp_path, 4 + number, 1, **changed)
        one = together.alone(number)
        for ours, theirs in zip(one.network.parameters(), single.network.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5)
        pages = first_pages(32)
        assert (one.act(pages) == single.act(pages)).float().mean() > 0.97
    first, second = (next(together.alone(number).network.parameters()) for number in (0, 1))
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_table_names_each_seed() -> None:
    # Why: the first keeps the agent's name, by which the verdict finds it.
    agent = made("dqn", MODEL, SPEC, num_seeds=3)
    assert list(policies(agent, "dqn")) == ["dqn", "dqn seed +1", "dqn seed +2"]
    assert list(policies(made("dqn", MODEL, SPEC), "dqn")) == ["dqn"]
    assert list(policies(object(), "popular")) == ["popular"]


@pytest.mark.parametrize(("switch", "named"), [("prioritised", "prioritised"), ("noisy", "noisy")])
def test_what_many_seeds_do_not_go_with_is_named(switch: str, named: str) -> None:
    with pytest.raises(UserError, match=rf"num_seeds=2 cannot go with {named}=true of agent=dqn"):
        made("dqn", MODEL, SPEC, num_seeds=2, **{switch: True})


@pytest.mark.parametrize("name", ["cql", "reranking", "recurrent_dqn"])
def test_an_agent_that_keeps_no_seeds_apart_says_so(name: str) -> None:
    # Why: they hand DQN's settings on, and would train one agent on the rows of two.
    with pytest.raises(UserError, match=rf"num_seeds=2 cannot go with agent={name}: leave it out"):
        made(name, MODEL, SPEC, num_seeds=2)
