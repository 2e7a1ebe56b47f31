"""agents.foreign: anyone's policy is taken in, and what is none, or answers badly, is said so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from ad_probe import observed as ads_seen
from ad_probe import options_of
from probe_shop import ProbeShop

from agents.foreign import foreign_ad_policy, foreign_policy
from recgym.errors import UserError
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

class Scoring(Acting):
    def scores(self, observation):
        return 5

class Predicting:
    def predict(self, features, deterministic=False):
        return np.full((len(features), 2), 2), None

def flat(observation):
    return torch.zeros(len(observation.feature), dtype=torch.int64)

def far(observation):
    return torch.full((len(observation.feature), 2), 1_000)

def halves(observation):
    return torch.full((len(observation.feature), 2), 0.5)

def beyond(observation):
    return torch.full((len(observation.feature),), 4)

made = Acting()
number = 7
"""
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


@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        (
            "flat",
            r"answered a tensor \[3\] of torch.int64: expected items from 0 to .*\[3, slots\]",
        ),
        ("far", r"of torch.int64, some of it out of range: expected items from 0"),
        ("halves", r"of torch.float32: expected items .* as whole numbers"),
    ],
)
def test_an_answer_that_is_no_page_is_said_in_a_sentence(
    module: str, attribute: str, said: str
) -> None:
    # Why: else it ends somewhere within the simulator, in a traceback about an index.
    policy = foreign_policy(f"{module}:{attribute}")
    with pytest.raises(UserError, match=f"policy={module}:{attribute} .*" + said):
        policy.act(observed())


def test_an_answer_that_is_no_option_is_said_in_a_sentence(module: str) -> None:
    # Why: as above, of a policy of ads, which chooses one of four options for each lane.
    seen = ads_seen(options_of(torch.rand(3, 4)))
    assert foreign_ad_policy(f"{module}:flat").act(seen).tolist() == [0, 0, 0]
    for attribute, said in (
        ("beyond", r"out of range: expected an option from 0 to 3 for each of 3 shoppers"),
        ("far", r"answered a tensor \[3, 2\] of torch.int64: expected an option from 0 to 3"),
    ):
        with pytest.raises(UserError, match=said):
            foreign_ad_policy(f"{module}:{attribute}").act(seen)
    with pytest.raises(UserError, match="predicts pages from features, and this run placed ads"):
        foreign_ad_policy(f"{module}:Predicting")


def test_what_else_a_policy_offers_is_still_there(module: str) -> None:
    # Why: an inspector shows its scores, where it has any.
    assert not hasattr(foreign_policy(f"{module}:third"), "scores")
    assert foreign_policy(f"{module}:Scoring").scores(None) == 5  # type: ignore[attr-defined]
