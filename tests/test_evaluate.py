"""agents.evaluate: anyone's policy is taken in, and what is no run or no policy is said so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_shop import ProbeShop

from agents.baselines import Popular, Random
from agents.evaluate import foreign_policy, open_run, play, summarise, value, write_json
from agents.table import policy_table
from recgym.errors import UserError
from recgym.logging_policy import EmptyPages
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation

MODULE = """
import numpy as np
import torch

def third(observation):
    return torch.full((len(observation.price), 2), 3)

class Acting:
    def act(self, observation, *, explore=False):
        return torch.full((len(observation.price), 2), 1)

class Predicting:
    def predict(self, features, deterministic=False):
        return np.full((len(features), 2), 2), None

made = Acting()
number = 7
"""
CPU = torch.device("cpu")
SPEC = ObservationSpec(Simulator(ProbeShop(), num_slots=2), "history")


def observed() -> Observation:
    seed = torch.arange(3)
    return SPEC.observe(SPEC.simulator.reset(seed, torch.zeros_like(seed)))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"policies_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize(
    ("attribute", "item"), [("third", 3), ("Acting", 1), ("made", 1), ("Predicting", 2)]
)
def test_policies_come_in_four_kinds(module: str, attribute: str, item: int) -> None:
    # Why: an engineer has a function, a class, an object or a model of Stable-Baselines3.
    policy = foreign_policy(f"{module}:{attribute}")
    assert policy.act(observed()).tolist() == [[item] * 2] * 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{module}", "expected module:function"),
        ("no_such_module:best", "No module named 'no_such_module'"),
        ("{module}:nothing", "defines nothing"),
        ("{module}:number", "is no policy"),
    ],
)
def test_what_is_no_policy_is_said_in_a_sentence(module: str, name: str, said: str) -> None:
    # Why: the name is typed by hand.
    with pytest.raises(UserError, match=said):
        foreign_policy(name.format(module=module))


def test_a_folder_that_is_no_run_is_said_in_a_sentence(tmp_path: Path) -> None:
    # Why: `outputs` itself, or a run that was killed, is what people pass.
    with pytest.raises(UserError, match=r"lacks summary\.json.*agents\.train"):
        open_run(tmp_path, CPU)


def test_coverage_by_hand() -> None:
    # Why: popular shows 2 of 4 items, nothing shows none.
    popular = play(SPEC, Popular(torch.arange(4), num_slots=2), 50, 0, CPU)
    assert popular.coverage == 0.5
    assert play(SPEC, EmptyPages(2), 50, 0, CPU).coverage == 0.0


def played(seed: int = 0) -> dict[str, object]:
    policies = {
        "nothing": EmptyPages(2),
        "popular": Popular(torch.arange(4), num_slots=2),
        "random": Random(num_slots=2),
        "twin": Popular(torch.arange(4), num_slots=2),
    }
    runs = value({"learned": SPEC}, policies, num_sessions=200, seed=seed, device=CPU)
    return summarise(runs, "popular", seed)


def test_alike_policies_differ_by_exactly_nothing() -> None:
    # Why: a policy against itself, under two names.
    summary = played()
    pair = summary["differences"]["learned"]["twin"]["popular"]  # type: ignore[index]
    for estimate in pair.values():
        assert estimate == {"mean": 0.0, "low": 0.0, "high": 0.0}
    nothing = summary["policies"]["nothing"]["learned"]  # type: ignore[index]
    assert nothing["incremental_revenue_per_session"]["mean"] == 0.0
    assert nothing["click_through_rate"]["mean"] is None  # nothing was shown
    assert nothing["conversion_rate"]["mean"] is not None


def test_differences_are_those_of_the_values() -> None:
    # Why: computed a second time from the table.
    summary = played()
    mean = {
        name: row["learned"]["revenue_per_session"]["mean"]
        for name, row in summary["policies"].items()  # type: ignore[attr-defined]
    }
    pair = summary["differences"]["learned"]["random"]["popular"]  # type: ignore[index]
    expected = mean["random"] - mean["popular"]
    assert pair["revenue_per_session"]["mean"] == pytest.approx(expected, abs=1e-6)


def test_without_a_true_shop_the_verdict_is_unknown() -> None:
    # Why: a real log has no truth, and the table and its figures must say so, not fail.
    summary = played()
    for key in ("kendall_tau", "exploitation_gap", "headroom", "headroom_share", "regret"):
        assert summary[key] is None
    assert summary["policies"]["popular"]["true"] is None  # type: ignore[index]
    lines = policy_table(summary).splitlines()
    assert lines[0].startswith("policy") and len(lines) == 6
    assert lines[2].startswith("nothing") and lines[2].rstrip().endswith("-")


def test_other_seeds_are_other_shoppers() -> None:
    # Why: an evaluation on the training's shoppers would flatter.
    runs = [play(SPEC, EmptyPages(2), 20, seed, CPU).stats.shopper for seed in (0, 1)]
    assert not np.intersect1d(runs[0].numpy(), runs[1].numpy()).size


def test_json_is_written_whole(tmp_path: Path) -> None:
    # Why: a kill between two bytes must leave the old file.
    write_json(tmp_path / "a.json", {"x": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": null\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
