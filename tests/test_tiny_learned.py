"""experiments.tiny: learners that need a fitted model, against what is known exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.tiny import UNSATED, dqn_loss, effects, laid_out, learned

FIT: dict[str, Any] = {"num_sessions": 30_000, "seed": 0, "hidden": 32}
BOUND = 0.005  # of orders, by the project's goal


@pytest.mark.slow
def test_dqn_reaches_the_optimum_within_a_percent(tmp_path: Path) -> None:
    # Why: it never sees the true shop's law, only a model fitted on the log; myopic pages lose
    # 6.8 %. The upper end of a 95 % interval on 50,000 shoppers must be below.
    model = learned({}, cache=tmp_path, **FIT)
    loss = dqn_loss(laid_out(), model, num_pages=100_000, num_sessions=50_000, seed=0)
    assert loss.share + 1.96 * loss.error < 0.01, loss


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        pytest.param(
            {},
            marks=pytest.mark.xfail(
                strict=False,  # -0.67 % where it was written: so near that rounding may decide
                reason="popular pages seem to lose 0.5 to 0.7 % of the orders: the goal is missed, "
                "see experiments/README.md",
            ),
        ),
        pytest.param(UNSATED),
    ],
    ids=["sated", "unsated"],
)
def test_a_learned_shop_sells_nothing_by_what_is_found_anyway(
    world: dict[str, Any], tmp_path: Path
) -> None:
    # Why: the promise that showing competes with what shoppers find alone, after a fit and for
    # several policies, by enumeration. Where an order ends the session, orders lost or won on one
    # page are made up for on the next; where it does not, nothing hides them.
    model = learned({"redundant": True, **world}, cache=tmp_path, **FIT)
    found = effects(model, least=1e-5)
    assert all(abs(effect.session) < BOUND for effect in found.values()), found
