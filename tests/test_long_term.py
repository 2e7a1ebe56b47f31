"""experiments.long_term: what looking ahead is worth, by hand and through a whole small run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tiny import call, compose

from experiments.horizon.cell import SessionBound
from experiments.long_term import Found, cells_of, main, table, verdict
from experiments.values import NUM_BLOCKS
from recgym.envs.core import Transition, open_core
from recgym.errors import UserError
from recgym.worlds.taste import TasteShop

SMALL = [
    "budget=quick",
    "budgets.quick.log_sessions=120",
    "budgets.quick.epochs=1",
    "budgets.quick.steps=256",
    "budgets.quick.num_envs=32",
    "budgets.quick.shoppers=200",
    "user_model.model.hidden=8",
    "user_model.model.num_tastes=8",
    "user_model.model.embedding=4",
    "user_model.fit.least_updates=5",
    "world.num_items=40",
    "num_slots=3",
    "device=cpu",
]


def halves(first: float, second: float, sessions: float = 2.0) -> dict[str, Any]:
    """Two seeds of blocks that earn so much, the first and the second half of the shoppers."""
    row = np.repeat([first, second], NUM_BLOCKS // 2)
    return {"revenue": np.stack([row, row]), "sessions": np.full((2, NUM_BLOCKS), sessions)}


def test_the_best_are_chosen_on_other_shoppers_than_they_are_compared_on() -> None:
    # Why: the best of several by its own figures flatters itself. By hand: b and d lead on the
    # first half, so that it is 6 against 5 on the second: +20 %, and no block differs.
    found: Found = {"a": halves(1, 9), "b": halves(3, 5), "c": halves(1, 9), "d": halves(4, 6)}
    said = verdict(found, {"a": True, "b": True, "c": False, "d": False})
    assert (said["best"], said["best_myopic"]) == ("d", "b")
    assert said["gain"] == {name: pytest.approx(0.2) for name in ("mean", "low", "high")}
    assert said["policies"]["a"] == {"revenue": 5.0, "sessions": 2.0}
    text = table({"effects": {"on": said}})
    assert "| a | 5.000 | 2.00 |" in text
    assert "effect on: d earns +20.0% [+20.0%, +20.0%] a shopper beside b" in text


def test_a_small_run_from_log_to_verdict_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    # Why: a night's cells must not be lost; in the learned shop, so that log, head and agent all
    # play several sessions. With no effect at all, who comes back is the same for all policies.
    given = [
        *SMALL, "train_in=learned", "long_term=[false]", f"folder={tmp_path / 'out'}",
        f"cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={tmp_path / 'log'}",
        "~policies.greedy", "~policies.dqn", "~policies.dqn_page", "~policies.ppo_page",
        "~policies.dqn_session", "~policies.ppo_session",
    ]  # fmt: skip
    call(main, *given)
    content = json.loads((tmp_path / "out" / "long_term.json").read_text())
    rows = content["effects"]["off"]["policies"]
    assert set(rows) == {"greedy_clicks", "ppo"} and content["effects"]["off"]["best"] == "ppo"
    assert rows["ppo"]["sessions"] == rows["greedy_clicks"]["sessions"] > 1.0
    files = sorted((tmp_path / "out").glob("off-learned-*.npz"))
    before = [file.stat().st_mtime_ns for file in files]
    call(main, *given)
    assert [file.stat().st_mtime_ns for file in files] == before and len(files) == 2
    assert json.loads((tmp_path / "out" / "long_term.json").read_text()) == content


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train_in=log", "train_in=log: expected true or learned"),
        ("num_sessions=1", "num_sessions=1: expected a whole number of at least 2"),
        ("policies.dqn.gamma=2.0", "gamma"),
        ("policies.dqn.agent=moon", "policies.dqn.agent: moon is unknown"),
        ("policies.dqn.until=ever", "policies.dqn.until=ever: expected one of page, session, shop"),
        ("budgets.full.seeds=[]", "budgets.full.seeds"),
    ],
)
def test_wrong_settings_stop_before_any_work(override: str, message: str) -> None:
    # Why: an hour later is too late.
    with pytest.raises(UserError, match=message):
        list(cells_of(OmegaConf.create(compose("long_term", override))))


def test_the_two_shops_differ_in_nothing_but_the_effect() -> None:
    # Why: the effect switched off is the control; whatever else differed would be taken for it.
    cells = list(cells_of(OmegaConf.create(compose("long_term", "budgets.full.seeds=[4]"))))
    assert len(cells) == 2 * 8 and {cell.long_term for cell in cells} == {True, False}
    on, off = (
        dict(next(c for c in cells if c.long_term is effect).log) for effect in (True, False)
    )
    assert on.pop("world") == {**off.pop("world"), "long_term": True} and on == off
    gammas = {cell.policy: cell.settings.get("gamma") for cell in cells}
    assert gammas["dqn"] == gammas["dqn_session"] == gammas["ppo"] == gammas["ppo_session"] == 0.99
    assert gammas["dqn_page"] == gammas["ppo_page"] == 0.0


def test_to_a_bound_agent_every_session_ends_the_episode() -> None:
    # Why: else it would look ahead into the next session through its target, and be no control.
    shop = TasteShop(num_items=40, returns=True, return_base=3.0)
    core = open_core(shop, num_envs=200, num_slots=3, num_sessions=4)
    learner, again = Heard(), 0
    core.reset(0)
    for _ in range(6):
        seen, items = core.observation, torch.arange(3).expand(200, -1)
        step = core.step(items)
        SessionBound(learner).learn(seen, items, step)
        assert torch.equal(learner.heard.terminated, step.outcome.left)
        assert not bool((learner.heard.terminated & learner.heard.truncated).any())
        again += int((step.outcome.left & ~step.terminated).sum())
    assert again > 50


class Heard:
    """A learner that keeps what it was told."""

    heard: Transition

    def learn(self, _: Any, __: Any, transition: Transition) -> dict[str, torch.Tensor]:
        self.heard = transition
        return {}
