"""experiments.believable: measures by hand, intervals over cells, and a run that goes on."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from simulated_log import simulate
from tiny import call

from agents.fixed import fixed_rules
from experiments import believable
from experiments.believable import main
from experiments.believing.cell import Cell
from experiments.believing.effects import Effects, errors, naive_elasticity
from experiments.believing.measures import (
    gap,
    kendall_tau,
    pairs_that_differ,
    regret,
    spread,
    value_error,
)
from experiments.believing.names import AGENT, CEILING, CURED, IN_TRUTH, ORACLE, SCORED, TRAINED
from experiments.believing.second import _too_often, second_policy
from experiments.believing.verdict import intervals, measured
from experiments.values import Values
from recgym.fidelity.calibration import forecasts_of
from recgym.fidelity.opening import open_run as open_scored
from recgym.logging_policy import EmptyPages
from recgym.record import TrueShopLog
from recgym.simulator import Simulator
from recgym.users.lstm import LSTMUserModel
from recgym.worlds.taste import TasteShop
from recgym.worlds.truth import observable_spec

TRUE = np.array([0.4, 0.1, -0.2])
CLAIMED = np.array([0.3, 0.5, -0.2])
ALL = np.triu(np.ones((3, 3), dtype=bool), 1)
SMALL = [
    "worlds=[default]",
    "budget=quick",
    "budgets.quick.log_sessions=150",
    "budgets.quick.sessions=200",
    "budgets.quick.effect_sessions=8",
    "budgets.quick.steps=256",
    "budgets.quick.epochs=1",
    "budgets.quick.parts=[page_blind,in_truth,cured]",
    "num_envs=32",
    "num_slots=3",
    "num_threads=1",
    "device=cpu",
    *[
        f"user_models.{kind}.model.{size}=8"
        for kind in ("lstm", "page_blind", "item_clicks")
        for size in ("hidden", "num_tastes")
    ],
]


def test_errors_are_shares_of_what_the_best_policy_truly_earns() -> None:
    # Why: by hand: mean of |-0.1|, |0.4| and 0 over 0.4; the pick earns 0.1 of 0.4.
    assert spread(TRUE) == 0.4
    assert value_error(CLAIMED, TRUE) == pytest.approx(0.5 / 3 / 0.4)
    assert regret(CLAIMED, TRUE) == pytest.approx(0.75)
    assert gap(0.9, 0.6) == pytest.approx(0.5)
    assert gap(0.9, -0.1) is None


def test_to_show_nothing_is_a_pick_and_ties_are_broken_at_random() -> None:
    # Why: a model that tells no policies apart must not be lucky by the order of a list.
    assert regret(np.array([-1.0, -1.0, -1.0]), TRUE) == pytest.approx(1.0)
    assert regret(np.zeros(3), TRUE) == pytest.approx((0.4 - (0.4 + 0.1 - 0.2 + 0) / 4) / 0.4)


def test_kendall_tau_counts_the_pairs_that_truly_differ() -> None:
    # Why: by hand: of three pairs one is turned around; without it the other two agree.
    assert kendall_tau(CLAIMED, TRUE, ALL) == pytest.approx(1 / 3)
    counted = ALL.copy()
    counted[0, 1] = False
    assert kendall_tau(CLAIMED, TRUE, counted) == pytest.approx(1.0)
    assert kendall_tau(np.zeros(3), TRUE, ALL) == 0.0
    # one of two counted pairs is tied by the claims: 1 / sqrt(1 * 2)
    tied = np.array([0.3, 0.3, -0.2])
    counted = np.zeros((3, 3), dtype=bool)
    counted[0, 1] = counted[0, 2] = True
    assert kendall_tau(tied, TRUE, counted) == pytest.approx(1 / math.sqrt(2))


def test_pairs_whose_interval_holds_0_are_not_counted() -> None:
    block_PJ = np.array([[1.0, 1.2, 0.8, 1.0], [0.0, 0.2, -0.2, 0.0], [1.0, 0.2, 1.8, 1.0]])
    counted_PP = pairs_that_differ(block_PJ)
    # a and b differ by 1 in every block; a and c by nothing on average
    assert counted_PP.tolist() == [[False, True, False], [False, False, True], [False] * 3]


def one_cell(bias: float, noise: float, seed: int) -> Cell:
    generator = np.random.default_rng(seed)
    rules = [f"rule-{i:02d}" for i in range(6)]
    names = ["nothing", "logging", "greedy", AGENT, IN_TRUTH, ORACLE, *rules]
    level = np.array([2.0, 2.2, 2.8, 2.7, 2.8, 2.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5])
    true_PJ = level[:, None] + noise * generator.standard_normal((len(names), 50))
    claim_PJ = level[:, None] + bias + noise * generator.standard_normal((len(names), 50))
    true = Values(names, true_PJ)
    claims = Values(names, claim_PJ)
    return Cell({"world": "default", "seed": seed}, {"true": true, "lstm": claims})


def test_a_learned_shop_that_is_right_is_found_right() -> None:
    # Why: an error of level alone must show in raw revenue and not in increments.
    cell, every = one_cell(bias=0.3, noise=0.0, seed=0), np.arange(50)
    found = measured(cell, "lstm", every, raw=False)
    assert found["kendall_tau"] == 1.0
    assert found["value_error"] == pytest.approx(0.0, abs=1e-12)
    assert found["exploitation_gap_uncured"] == pytest.approx(0.0)
    assert found["share_of_truth_trained"] == pytest.approx(0.7 / 0.8)
    assert found["headroom"] == pytest.approx(0.7 / 2.2)
    assert found["headroom_share"] == pytest.approx(0.5 / 0.7)
    assert found["exploitation_gap"] is None  # no ensemble, no cure
    raw = measured(cell, "lstm", every, raw=True)
    assert raw["value_error"] == pytest.approx(0.3 / 0.5)
    assert raw["exploitation_gap_uncured"] == pytest.approx(3.0 / 2.7 - 1)


def changed(cell: Cell, shop: str, **level: float) -> Cell:
    """The cell with other values of these policies in one shop."""
    values = cell.values[shop]
    block_PJ = values.block_PJ.copy()
    for name, value in level.items():
        block_PJ[values.names.index(name.replace("_", "-"))] = value
    return Cell(cell.result, {**cell.values, shop: Values(values.names, block_PJ)})


def test_a_shop_picks_by_its_own_value_of_nothing() -> None:
    # Why: a shop that is wrong by 3 on every raw value still knows that nothing is better than all.
    cell, every = one_cell(bias=3.0, noise=0.0, seed=0), np.arange(50)
    low = {f"rule_{i:02d}": 4.9 for i in range(6)}  # below its nothing of 5.0
    found = [measured(changed(cell, "lstm", **low), "lstm", every, raw) for raw in (False, True)]
    assert [row["regret"] for row in found] == [1.0, 1.0]


def test_the_ceiling_is_not_the_agent_itself() -> None:
    # Why: an agent that were its own ceiling would always earn all there is.
    cell, every = one_cell(bias=0.0, noise=0.0, seed=0), np.arange(50)
    best = changed(cell, "true", dqn=3.2)
    assert measured(best, "lstm", every, False)["headroom_share"] == pytest.approx(1.0 / 0.7)
    true = cell.values["true"]
    longer = Values([*true.names, CEILING], np.vstack([true.block_PJ, np.full((1, 50), 3.7)]))
    with_ceiling = Cell(cell.result, {**cell.values, "true": longer})
    found = measured(with_ceiling, "lstm", every, False)
    assert found["headroom_share"] == pytest.approx(0.5 / 1.5)


def test_the_cured_gap_is_that_of_members_that_did_not_train_the_agent() -> None:
    # Why: by hand: truly +0.5; claimed +0.9 where it was trained and +0.6 where it was not.
    cell, every = one_cell(bias=0.0, noise=0.0, seed=0), np.arange(50)

    def values(*level: float) -> Values:
        return Values(["nothing", AGENT, CURED], np.repeat(np.array(level)[:, None], 50, 1))

    true = cell.values["true"]
    block_PJ = np.vstack([true.block_PJ, np.full((1, 50), 2.5)])
    shops = {
        **cell.values,
        "true": Values([*true.names, CURED], block_PJ),
        SCORED: values(2.1, 2.9, 2.7),
        TRAINED: values(2.1, 2.9, 3.0),
    }
    found = measured(Cell(cell.result, shops), "lstm", every, raw=False)
    assert found["exploitation_gap"] == pytest.approx(0.6 / 0.5 - 1)
    assert found["exploitation_gap_trained"] == pytest.approx(0.9 / 0.5 - 1)
    assert found["exploitation_gap_scored_uncured"] == pytest.approx(0.8 / 0.7 - 1)
    assert found["cured_share_of_uncured"] == pytest.approx(0.5 / 0.7)


def test_intervals_hold_the_chance_of_the_cells() -> None:
    # Why: seeds of logs and fits differ by more than sessions do; few blocks cannot say so.
    cells = [one_cell(bias=0.0, noise=0.01, seed=s) for s in range(3)]
    found = intervals(cells, lambda c, _: {"seed": float(c.result["seed"]), "none": None})
    assert found["seed"] == {"mean": 1.0, "low": 0.0, "high": 2.0}
    assert found["none"] == {"mean": None, "low": None, "high": None}
    alike = intervals(cells, lambda c, j: measured(c, "lstm", j, raw=False))["value_error"]
    assert alike["low"] is not None and alike["mean"] is not None and alike["high"] is not None
    assert 0.0 < alike["low"] <= alike["mean"] * 2 and alike["high"] < 0.05


def test_cells_with_and_without_an_ensemble_have_one_mean() -> None:
    cell = one_cell(bias=0.0, noise=0.01, seed=0)
    scored = Values([*cell.values["lstm"].names, CURED], np.full((13, 50), 2.0))
    true = Values(scored.names, np.vstack([cell.values["true"].block_PJ, np.full((1, 50), 2.5)]))
    shops = {**cell.values, "true": true, SCORED: scored, TRAINED: scored}
    both = [cell, Cell(cell.result, shops)]
    found = intervals(both, lambda c, j: measured(c, "lstm", j, raw=False))
    assert found["exploitation_gap"]["mean"] == pytest.approx(-1.0)  # of the one that has it


def test_effects_are_compared_by_the_worse_of_two() -> None:
    found = errors(Effects(-2.0, 0.011, 0.0040), Effects(-2.5, 0.010, 0.0050))
    assert found["elasticity_error"] == pytest.approx(0.5)
    assert found["exposure_error"] == pytest.approx(0.2)


def test_the_naive_slope_by_hand() -> None:
    # Why: the figure that a fit must beat has to be what a log says without controls. Of two
    # prices it is the difference of the logits of selling over that of the logarithms.
    sessions, *_ = simulate(Simulator(TasteShop(num_items=40), num_slots=2), EmptyPages(2), 200)
    event = sessions.event
    view_n = (event.kind == 2).nonzero().squeeze(-1)[:400]
    event.kind.fill_(0)
    event.kind[view_n], event.after[view_n] = 2, 0
    event.price[view_n] = torch.where(torch.arange(400) < 200, 10.0, 20.0)
    event.after[view_n[:60]], event.after[view_n[200:220]] = 2, 3  # 30 % of cheap, 10 % of dear
    slope = (math.log(0.1 / 0.9) - math.log(0.3 / 0.7)) / math.log(2.0)
    assert naive_elasticity(sessions) == pytest.approx(slope * 0.8, rel=1e-3)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("budget=huge", "budget=huge: expected one of full, short, quick"),
        ("worlds=[atlantis]", "worlds: atlantis is unknown"),
        ("worlds=default", "worlds=default: expected a list of names"),
        ("worlds=[]", "worlds=[]: expected a list of names"),
        ("budgets.quick.seeds=[-1]", "budgets.quick.seeds=[-1]: expected a list of whole numbers"),
        ("budgets.quick.sessions=199", "budgets.quick.sessions=199: expected a whole number of"),
        ("members=3", "members=3: expected a whole number of at least 4"),
        ("members=5", "ensemble.members=5: expected 0, or an even number"),
        ("budgets.quick.parts=[oracle]", "budgets.quick.parts=['oracle']: expected a list of some"),
        ("pessimism=much", "pessimism=much: expected a number of at least 0"),
        ("agent.gamma=2", "agent.gamma=2: expected"),
        ("user_models.page_blind.model.hidden=x", "hidden=x: expected a whole number"),
    ],
)
def test_what_cannot_be_used_ends_in_a_sentence_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, *SMALL, f"folder={tmp_path / 'out'}", f"hydra.run.dir={tmp_path}", asked)
    assert ended.value.code == 1 and sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def written_at(folder: Path) -> dict[Path, int]:
    """When each result, set of values and agent was written."""
    names = ("result.json", "values.npz", "agent.pt")
    return {p: p.stat().st_mtime_ns for name in names for p in folder.rglob(name)}


def refused(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a run that cannot go on says."""
    with pytest.raises(SystemExit) as ended:
        call(main, *overrides)
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.slow
def test_a_run_leaves_a_table_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # fewer rules than the 24: each is valued in six shops
    monkeypatch.setitem(fixed_rules.__kwdefaults__, "count", 2)
    # and sessions of two or three pages
    whole = believable.entry_of
    short = {"intent_leave": [-0.2, -0.7, -0.7]}
    monkeypatch.setattr(
        believable, "entry_of", lambda *named: OmegaConf.merge(whole(*named), short)
    )
    overrides = [*SMALL, f"folder={tmp_path / 'out'}", f"cache_dir={tmp_path / 'cache'}"]
    overrides.append(f"hydra.run.dir={tmp_path / 'hydra'}")
    call(main, *overrides, "budgets.quick.parts=[in_truth]")
    first = json.loads((tmp_path / "out" / "believable.json").read_text())["shops"][0]
    assert not first["wrong_models"]
    assert first["share_of_truth_trained"] is not None and first["exploitation_gap"] is None
    files = written_at(tmp_path / "out")
    call(main, *overrides)  # more parts, which stand beside those that were run before
    assert files.items() <= written_at(tmp_path / "out").items() and len(files) > 2
    written = json.loads((tmp_path / "out" / "believable.json").read_text())
    shop = written["shops"][0]
    for key in ("kendall_tau", "regret", "value_error", "exploitation_gap",
                "exploitation_gap_uncured", "elasticity_error", "exposure_error", "headroom",
                "headroom_share", "share_of_truth_trained"):  # fmt: skip
        assert key in shop, key
    assert shop["exploitation_gap_trained"] != shop["exploitation_gap_uncured"]
    blind = shop["wrong_models"]["page_blind"]
    assert blind["kendall_tau"] == 0.0  # a shop whose pages do nothing tells no policies apart
    assert (tmp_path / "out" / "believable.png").stat().st_size > 1000
    assert "| default (1) |" in (tmp_path / "out" / "believable.md").read_text()
    (fit,) = (tmp_path / "out").glob("default-0-*")
    assert {"config.yaml", "fit.json", "model", "truth.json"} <= {p.name for p in fit.iterdir()}
    assert isinstance(open_scored(fit, torch.device("cpu")).model, LSTMUserModel)
    for key in ("kendall_tau", "exploitation_gap_uncured", "share_of_truth_trained"):
        assert shop[key] == first[key]
    files = written_at(tmp_path / "out")
    call(main, *overrides, "budgets.quick.parts=[]")  # what a cell has is shown
    assert files == written_at(tmp_path / "out")
    again = json.loads((tmp_path / "out" / "believable.json").read_text())
    assert again == written
    # what was lost or damaged since ends in a sentence, and never in the values of another agent
    (cured,) = fit.glob("cured-*")
    shutil.rmtree(cured)
    (fit / "runs" / AGENT / "agent.pt").unlink()
    assert "agent.pt is gone, without which dqn would be valued untrained" in refused(
        overrides, capsys
    )
    (truth,) = fit.glob("in_truth-*")
    (truth / "values.npz").write_bytes(b"half a file")
    assert f"{truth} is damaged" in refused(overrides, capsys)


def test_what_is_foreseen_too_often_by_hand() -> None:
    # Why: of two sessions one foresees 1.2 of its one event and one 0.3 of its one: 1.5 ÷ 2 - 1.
    # Resampled, either session may come twice: 0.3 - 1 and 1.2 - 1 are the ends.
    found = forecasts_of(
        np.array([0, 0, 1]), np.array([0.4, 0.8, 0.3]), np.array([False, True, True])
    )
    said = _too_often(found, 2)
    assert said["error"] == pytest.approx(-0.25)
    assert (said["low"], said["high"]) == (pytest.approx(-0.7), pytest.approx(0.2))


def test_a_second_policy_shows_other_pages_than_the_log() -> None:
    # Why: a check on the log's own pages again would be none. The log shows at random on 5 % of its
    # pages and the second policy on 58 %, so that its items are famous by less than half as much.
    world = TasteShop(num_items=60)
    log = TrueShopLog(world={"_target_": "recgym.worlds.taste.TasteShop"}).logging_policy(world)
    spec = observable_spec(world, 10)
    seed_N = torch.arange(2000)
    state = spec.simulator.reset(seed_N, torch.zeros_like(seed_N))
    observation = spec.observe(state)
    famous_I = world.fame - world.fame.mean()
    above = []
    for policy in (log, second_policy(world, 10)):
        item_NK = policy.act(observation)
        above.append(float(famous_I[item_NK[item_NK >= 0]].mean()))
    assert 0.0 < above[1] < above[0] / 2, above
