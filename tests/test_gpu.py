"""On a GPU: no step waits for the device, and the same shoppers come as on a CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from probe_model import made
from probe_shop import learned_shop

from recgym.envs.core import ShopCore, open_core
from recgym.users.returning import ReturnHead
from recgym.worlds.taste import TasteShop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LANES, SLOTS, ITEMS = 256, 4, 40
NAMES = ["learned", "true", "learned, returning", "true, returning"]


@contextmanager
def never_waiting() -> Iterator[None]:
    """Any wait for the device, a copy to the host included, raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def core_of(name: str, device: str) -> ShopCore:
    if name.startswith("learned"):
        shop: Any = learned_shop()
        shop.return_head = ReturnHead(shop.num_groups)
        shop = shop.to(device)
    else:
        shop = TasteShop(num_items=ITEMS, device=device, returns=True, return_weight=5.0)
    num_sessions = 3 if name.endswith("returning") else 1
    return open_core(shop, num_envs=LANES, num_slots=SLOTS, num_sessions=num_sessions)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_a_compiled_training_step_shows_the_same_pages(name: str) -> None:
    # Why: a graph replays what was captured; a result that a later replay overwrote, or an input
    # read where it no longer lies, would show here.
    found = []
    for compile in (False, True):
        core = open_core(
            learned_shop().to("cuda"), num_envs=LANES, num_slots=SLOTS, compile=compile
        )
        agent = made(name, core.simulator.shop, core.spec)
        if compile:
            agent.compile()
        observation, shown = core.reset(3), []
        for _ in range(6):
            shown.append(agent.act(observation, explore=True))
            transition = core.step(shown[-1])
            agent.learn(observation, shown[-1], transition)
            observation = transition.observation
        found.append(torch.stack(shown))
    assert (found[0] != found[1]).float().mean() <= 0.01


def slates(step: int) -> torch.Tensor:
    return (torch.arange(SLOTS) * 7 + torch.arange(LANES).unsqueeze(-1) + step) % ITEMS


@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_waits(name: str) -> None:
    # Why: one wait a step costs more than all of its arithmetic.
    core = core_of(name, "cuda")
    core.reset(0)
    pages = [slates(step).cuda() for step in range(6)]
    core.step(pages[0])  # libraries set themselves up
    with never_waiting():
        for page in pages[1:]:
            core.step(page)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_shoppers_come(name: str) -> None:
    # Why: float32 sums in another order may move a draw across an edge, now and then one.
    here, there = core_of(name, "cpu"), core_of(name, "cuda")
    here.reset(5)
    there.reset(5)
    differing = 0
    for step in range(5):
        ours, theirs = here.step(slates(step)), there.step(slates(step).cuda())
        differing += int((ours.outcome.event.item != theirs.outcome.event.item.cpu()).sum())
    assert differing <= 0.01 * 5 * LANES
