"""agents.valuing: what a policy did, on the same shoppers."""

from __future__ import annotations

import numpy as np
import torch
from probe_shop import ProbeShop

from agents.baselines import Popular
from agents.valuing import play
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


def test_other_seeds_are_other_shoppers() -> None:
    # Why: an evaluation on the training's shoppers would flatter.
    runs = [play(SPEC, EmptyPages(2), 20, seed, CPU).stats.shopper for seed in (0, 1)]
    assert not np.intersect1d(runs[0].numpy(), runs[1].numpy()).size
