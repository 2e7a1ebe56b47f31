"""experiments.tiny: learners that need a fitted model, against what is known exactly."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.tiny import agent_loss, laid_out, learned
from recgym.worlds.exact import ExactShop

FIT: dict[str, Any] = {"num_sessions": 12_000, "seed": 0, "hidden": 32, "num_tastes": 8}


@pytest.fixture(scope="module")
def exact() -> ExactShop:
    return laid_out()


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return learned({}, cache=tmp_path_factory.mktemp("tiny"), **FIT)


@pytest.mark.slow
def test_dqn_reaches_the_optimum_within_a_percent(
    exact: ExactShop, offered: dict[str, Any]
) -> None:
    # Why: it never sees the true shop's law, only a model fitted on the log; myopic pages lose
    # 6.8 %. The upper end of a 95 % interval on 25,000 shoppers must be below.
    loss = agent_loss("dqn", exact, offered, num_pages=100_000, num_sessions=25_000, seed=0)
    assert loss.share + 1.96 * loss.error < 0.01, loss


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dqn", "linucb"])
def test_who_looks_at_one_page_alone_does_not(
    name: str, exact: ExactShop, offered: dict[str, Any]
) -> None:
    # Why: without it the test above could hold of a shop where foresight is worth nothing.
    loss = agent_loss(name, exact, offered, num_pages=50_000, num_sessions=8_000, seed=0, gamma=0.0)
    assert loss.share - 1.96 * loss.error > 0.05, loss
