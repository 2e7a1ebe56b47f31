"""agents.evaluate: anyone's policy is taken in, and what is no run or no policy is said so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from probe_shop import ProbeShop

from agents.evaluate import foreign_policy, open_run
from recgym.errors import UserError
from recgym.files import write_json
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


def test_the_search_path_is_left_as_it_was(module: str) -> None:
    # Why: a stray random.py of the working folder would shadow Python's own in all that follows.
    before = list(sys.path)
    foreign_policy(f"{module}:third")
    with pytest.raises(UserError):
        foreign_policy("no_such_module:best")
    assert sys.path == before


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


def test_json_is_written_whole(tmp_path: Path) -> None:
    # Why: a kill between two bytes must leave the old file.
    write_json(tmp_path / "a.json", {"x": None})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": null\n}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
