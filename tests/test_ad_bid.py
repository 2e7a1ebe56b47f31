"""RecGym/AdBid-v0: a campaign's day, by hand, to Gymnasium's letter, and paced by a controller."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from probe_shop import ProbeShop

import recgym  # noqa: F401  (registers the id)
from recgym.ads.bidding import PidPacing, play
from recgym.envs.ad_bid import AdBidEnv, PidBidder
from recgym.errors import UserError

ROWS = [
    {"item": 0, "bid": 0.50, "budget": 1.0},
    {"item": 1, "bid": 0.40, "value": 0.6, "budget": 1.0},
    {"item": 2, "bid": 0.30, "value": 0.3, "budget": 1.0},
]
# every rival takes part in every request, and the first slot is always clicked
CERTAIN = {"rate": 1.0, "rate_spread": 0.0, "participation": 1.0, "num_requests": 8}


def made(**changed: Any) -> AdBidEnv:
    auction = {**CERTAIN, **changed.pop("auction", {})}
    settings = {"campaigns": ROWS, "requests_per_step": 2, **changed}
    return AdBidEnv(ProbeShop(), auction=auction, **settings)


def bid(multiplier: float) -> np.ndarray[Any, Any]:
    return np.array([multiplier], np.float32)


@pytest.mark.parametrize("action", ["multiplier", "level"])
def test_it_is_an_environment_to_the_letter(action: str) -> None:
    # Why: Stable-Baselines3 and others take nothing else.
    env = gym.make(
        "RecGym/AdBid-v0", shop=ProbeShop(), campaigns=ROWS, action=action,
        auction=CERTAIN, requests_per_step=2,
    )  # fmt: skip
    check_env(env.unwrapped, skip_render_check=True)


def test_a_day_by_hand() -> None:
    # Why: two requests a step; each is won at the next bid of 0.4, and clicked, worth 0.5. After
    # two of them 0.2 are left of 1, too little for a bid of 0.5; a bid of 0.2 beats nobody.
    env = made(reward="profit")
    first, info = env.reset(seed=3)
    assert first.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0] and info == {"day": 0, "budget": 1.0}
    seen, reward, ended, cut, info = env.step(bid(1.0))
    assert reward == pytest.approx(2 * 0.5 - 2 * 0.4) and not ended and not cut
    assert info == {"won": 2, "clicks": 2, "spent": 0.8, "value": 1.0, "multiplier": 1.0}
    # a fifth of: all won, 0.8 of what was to last for 4 steps, clicks at 0.8 of their value
    assert seen.tolist() == pytest.approx([0.75, 0.2, 0.2, 0.2 * 3.2, 0.2 * 0.8])
    for multiplier in (1.0, 0.4):
        seen, reward, ended, *_ = env.step(bid(multiplier))
        assert reward == 0.0 and not ended
    assert env.step(bid(0.0))[2]
    with pytest.raises(UserError, match=r"call reset\(\) first"):
        env.step(bid(1.0))
    assert env.reset()[1]["day"] == 1


def test_the_controller_bids_as_it_does_on_the_stream() -> None:
    # Why: a baseline that paces otherwise here than in the market beside it compares with nothing.
    changed: dict[str, Any] = {"rate": 0.3, "rate_spread": 0.5, "participation": 0.6}
    env = made(auction={**changed, "num_requests": 60}, requests_per_step=1)
    pid, value = PidBidder(env), 0.0
    seen, ended = env.reset(seed=5)[0], False
    while not ended:
        seen, reward, ended, *_ = env.step(pid.act(seen))
        value += reward
    expected, spent = play(env.stream, torch.tensor([5]), PidPacing())
    assert value == pytest.approx(float(expected)) and value > 0.0
    assert seen[1] == pytest.approx(1.0 - float(spent) / 1e6, abs=1e-5)


def test_levels_are_multipliers() -> None:
    # Why: by hand: level 5 of 11 up to 2 is a bid of the value; the controller takes the nearest.
    env = made(action="level")
    env.reset(seed=0)
    assert env.step(5)[4]["multiplier"] == pytest.approx(1.0)
    assert PidBidder(env).act(np.array([0.5, 0.5, 0, 0, 0], np.float32)) == 5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"action": "box"}, "env.action='box' is unknown: expected one of multiplier, level."),
        ({"reward": "clicks"}, "env.reward='clicks' is unknown: expected one of value, profit."),
        ({"requests_per_step": 3}, "env.requests_per_step=3: expected a divisor of auction.num_"),
        ({"most": 0.0}, "env.most=0.0"),
        ({"num_levels": 1}, "env.num_levels=1: expected at least 2"),
        ({"auction": {"owner": 1}}, "auction.owner is no setting"),
        ({"auction": {"own": 7}}, "bidding.own=7: expected a campaign from 0 to 2."),
    ],
)
def test_a_bad_setting_ends_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    # Why: before a day is played.
    with pytest.raises(UserError, match=sentence):
        made(**settings)


@pytest.mark.parametrize(
    ("action", "given", "sentence"),
    [
        ("multiplier", bid(2.5), "action has 2.5: expected a value of Box"),
        ("multiplier", 1.0, r"action has shape \(\) and dtype float64: expected numbers of shape"),
        ("level", 11, "action has 11: expected a value of Discrete"),
        ("level", 1.5, "expected a whole number of shape"),
    ],
)
def test_a_bad_action_ends_in_one_sentence(action: str, given: Any, sentence: str) -> None:
    # Why: an index into the grid that wraps around bids something else in silence.
    env = made(action=action)
    env.reset(seed=0)
    with pytest.raises(UserError, match=sentence):
        env.step(given)
