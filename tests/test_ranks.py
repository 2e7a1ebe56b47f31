"""agents.ranks: several processes that share the shoppers come to what one of them would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_model import MODEL, SPEC, agent_named
from tiny import compose

from agents import ranks
from agents.logger import Logger
from agents.loop import AGENT, train
from recgym.envs.core import ShopCore
from recgym.errors import UserError

TESTS = Path(__file__).resolve().parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
SCRIPT = "import sys; from pathlib import Path; from test_ranks import learn; learn(sys.argv[1])"
NAMES = ("dqn", "ppo")
LANES = 32
STEP = 1e-3  # of Adam, the learning rate: where a gradient is but rounding it makes one of it


def learn(folder: str) -> None:
    """Train an agent of each kind, as one process or as one of those of torchrun."""
    torch.set_num_threads(1)
    ranks.join(torch.device("cpu"))
    for name in NAMES:
        place = Path(folder) / f"{name}-{ranks.rank()}"
        place.mkdir()
        core = ShopCore(SPEC, "revenue", num_envs=LANES // ranks.size(), max_pages=20)
        with Logger(place) as logger:
            train(agent_named(name), core, steps=24 * LANES, seed=3, logger=logger, folder=place)
    ranks.leave()


def network_of(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(folder / AGENT, weights_only=True)
    network: dict[str, torch.Tensor] = state["network"]
    return network


@pytest.mark.slow
def test_two_ranks_learn_what_one_process_would(tmp_path: Path) -> None:
    # Why: the number of GPUs must be no setting of an experiment. All that differs is the order in
    # which floats are added; after 22 updates and more that is less than a tenth of one of them.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    learn(str(tmp_path / "one"))
    (tmp_path / "worker.py").write_text(SCRIPT)
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    subprocess.run(
        [*TORCHRUN, str(tmp_path / "worker.py"), str(tmp_path / "two")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=240,
    )
    for name in NAMES:
        alone, *both = (
            network_of(tmp_path / place)
            for place in (f"one/{name}-0", f"two/{name}-0", f"two/{name}-1")
        )
        fresh = agent_named(name).network.state_dict()
        for key, value in alone.items():
            assert torch.equal(both[0][key], both[1][key]), (name, key)
            torch.testing.assert_close(both[0][key], value, rtol=0.0, atol=STEP / 10)
        moved = max(float((alone[key] - fresh[key]).abs().max()) for key in alone)
        assert moved > 1e-2, name  # else nothing was learned, and agreeing is no feat


def test_one_process_neither_gathers_nor_shares() -> None:
    # Why: by far the most runs are of one process, and must pay nothing for the others.
    rows = {"feature": torch.ones(4, 2)}
    assert ranks.gathered(rows) is rows and ranks.share(rows) is rows
    assert (ranks.rank(), ranks.size()) == (0, 1) and MODEL.catalog.num_items == 20


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["agent=cql"], "agent=cql cannot: expected agent=dqn"),
        (["agent=linucb"], "agent=linucb cannot"),
        (["agent=rainbow"], r"agent\.prioritised goes with one process"),
        (["agent.num_seeds=2"], r"agent\.num_seeds goes with one process"),
        (["num_envs=33"], "num_envs = 33 is no multiple of the 2 processes"),
        (["agent.batch_size=7"], r"agent\.batch_size = 7 is no multiple"),
        (["agent=ppo", "num_envs=2", "agent.horizon=3", "agent.minibatches=2"], "= 3 is no mult"),
        (["resume=DIR"], "resume=DIR goes with one process"),
    ],
)
def test_what_ranks_cannot_share_is_refused(overrides: list[str], sentence: str) -> None:
    # Why: an agent that drew other rows in each process would learn something else, silently.
    settings = compose("train", *overrides)
    agents = [text.partition("=")[2] for text in overrides if text.startswith("agent=")]
    settings["agent_name"] = (agents or ["dqn"])[0]
    ranks.check(settings, 1)
    with pytest.raises(UserError, match=sentence):
        ranks.check(settings, 2)
