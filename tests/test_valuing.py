"""agents.valuing: what a policy did, on the same shoppers."""

from __future__ import annotations

import numpy as np
import torch
from probe_shop import ProbeShop
from tiny import compose

from agents.baselines import Popular
from agents.valuing import play, true_side
from recgym.build import build
from recgym.logging_policy import EmptyPages
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec

CPU = torch.device("cpu")
SPEC = ObservationSpec(Simulator(ProbeShop(), num_slots=2), "history")


def test_coverage_by_hand() -> None:
    # Why: popular shows 2 of 4 items, nothing shows none.
    popular = play(SPEC, Popular(torch.arange(4), num_slots=2), 50, 0, CPU)
    assert popular.coverage == 0.5
    assert play(SPEC, EmptyPages(2), 50, 0, CPU).coverage == 0.0


def test_the_logging_policy_fills_pages_of_the_size_that_is_valued() -> None:
    # Why: pages of three sizes are compared on one log, whose pages have but one.
    reader = build(
        compose("train", "log.num_slots=10", "world.num_items=30")["log"], recursive=False
    )
    for num_slots, expected in ((None, 10), (5, 5)):
        world, logging = true_side(reader, CPU, num_slots)
        assert world is not None and logging is not None
        spec = ObservationSpec(Simulator(world, num_slots=expected), "history")
        seed_N = torch.arange(4)
        state = spec.simulator.reset(seed_N, torch.zeros_like(seed_N))
        assert logging.act(spec.observe(state)).shape == (4, expected)


def test_other_seeds_are_other_shoppers() -> None:
    # Why: an evaluation on the training's shoppers would flatter.
    runs = [play(SPEC, EmptyPages(2), 20, seed, CPU).stats.shopper for seed in (0, 1)]
    assert not np.intersect1d(runs[0].numpy(), runs[1].numpy()).size
