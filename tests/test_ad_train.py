"""agents.train env=...: the whole loop with ads, small, as a user would run it."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ad_probe import observed, options_of, same
from ad_shop import core_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import FIT, SHORT, below, call, compose

from agents import evaluate, train
from agents.ads.dqn import AdDQN
from agents.ads.rules import GreedyAds
from agents.ads.valuing import Recording
from agents.logger import Logger
from agents.loop import PROGRESS
from agents.loop import train as train_agent
from agents.shoppers import read_shoppers
from recgym import progress
from recgym.errors import UserError
from recgym.replay import __main__ as replay

SMALL = [
    *[text for text in FIT if not text.startswith("num_slots")],
    "num_slots=6",
    "world.num_items=60",
    "log.num_sessions=400",
    SHORT,
    "steps=960",
    "num_envs=32",
    "evaluation.sessions=60",
]
QUICK = ["agent.learning_starts=64", "agent.batch_size=32"]
POLICIES = ["ad_none", "ad_fixed", "ad_greedy", "ad_threshold", "ad_ranking"]
PROMISED = {
    "ad_revenue_per_session", "rpm", "ad_load", "revenue_per_session", "conversion_rate",
    "leave_rate", "net_ad_revenue", "earned_per_shopper", "fill_rate", "roas", "win_rate",
    "ads_per_session_95", "return_7_day",
}  # fmt: skip
ENVS = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[1] / "conf" / "env").glob("*.yaml")
    if path.stem != "recommend"
)


def summary_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ads")


@pytest.fixture(scope="module")
def run(home: Path) -> tuple[Path, str]:
    """A run of the DQN over allocations, and all that it printed."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.console, "_file", said)  # its property would stay set
        call(train.main, "env=ad_allocate", *SMALL, *QUICK, *below(home))
    return home / "run", said.getvalue()


@pytest.mark.slow
def test_a_run_says_what_was_promised(run: tuple[Path, str]) -> None:
    # Why: others read it; a key that moves breaks them.
    folder, said = run
    summary = summary_of(folder)
    assert summary["agent"] == "ad_dqn" and summary["env"] == "ad_allocate"
    assert list(summary["policies"]) == [*POLICIES, "ad_dqn"]
    assert set(summary["seconds"]) == {"log", "fit", "ads", "train", "evaluate"}
    assert summary["environment_steps"] == 960
    for shops in summary["policies"].values():
        for row in shops.values():
            assert set(row) >= PROMISED
            for value in row.values():
                assert set(value) == {"mean", "low", "high"}
                if value["low"] is not None:
                    assert value["low"] <= value["mean"] <= value["high"]
    for shop in ("learned", "true"):
        none, fixed = (summary["policies"][name][shop] for name in ("ad_none", "ad_fixed"))
        assert none["ad_load"]["mean"] == 0.0 and none["net_ad_revenue"]["mean"] == 0.0
        # one of six slots on each page, or less where no campaign may run
        assert 0.1 < fixed["ad_load"]["mean"] <= 1 / 6 + 1e-6
        gain = summary["differences"][shop]["ad_dqn"]["ad_revenue_per_session"]
        assert (
            set(gain) == {"mean", "low", "high"} and "ad_fixed" not in summary["differences"][shop]
        )
        assert summary["hindsight"][shop]["price"] >= 0.0
    assert "fitted   leave" in said and "assumed  rest_days" in said
    assert "true shop " in said and "ad revenue above ad_fixed" in said
    assert "cap 10.0%" in said and "Kendall tau" in said


@pytest.mark.slow
def test_a_run_folder_stands_on_its_own(run: tuple[Path, str]) -> None:
    # Why: it is sent to colleagues, and a cache is emptied.
    folder, said = run
    left = {path.name for path in folder.iterdir()}
    assert left >= {"summary.json", "config.yaml", "table.txt", "agent.pt", "model", "front.png"}
    assert (folder / "model" / "ads.json").is_file() and not (folder / PROGRESS).exists()
    assert (folder / "table.txt").read_text().strip() in said


@pytest.mark.slow
def test_a_run_keeps_each_shoppers_numbers(run: tuple[Path, str]) -> None:
    # Why: runs are compared pair by pair; what is kept must be what the summary was made of.
    kept, summary = read_shoppers(run[0]), summary_of(run[0])
    assert kept is not None and kept.meta["sessions"] == 60
    for name, shops in summary["policies"].items():
        for shop, row in shops.items():
            columns = kept.columns(shop, name)
            assert columns is not None
            assert columns["earned"].mean() == pytest.approx(
                row["earned_per_shopper"]["mean"], rel=1e-5, abs=1e-6
            )
            load = columns["sponsored"].sum() / columns["shown"].sum()
            assert load == pytest.approx(row["ad_load"]["mean"])


@pytest.mark.slow
def test_tensorboard_shows_curves_policies_and_a_figure(run: tuple[Path, str]) -> None:
    # Why: the load and its price are watched while an agent trains.
    events = EventAccumulator(str(run[0]))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"agent/loss", "agent/load", "agent/price", "train/reward"} <= scalars
    assert {f"policy_true/{name}/ad_load" for name in POLICIES} <= scalars
    assert "policies" in events.Tags()["images"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ENVS if name != "ad_allocate"])  # it is `run`
def test_every_environment_trains_to_the_end(name: str, home: Path, run: tuple[Path, str]) -> None:
    # Why: log and fit are those of the run above; only what is decided differs.
    quick = QUICK if name == "ad_insert" else ["agent.horizon=4"]
    few = [] if name == "shop" else ["evaluation.sessions=12"]  # it is compared with `run`
    call(train.main, f"env={name}", *SMALL, *quick, "steps=320", *few, *below(home, name))
    summary = summary_of(home / name)
    assert summary["env"] == name and summary["seconds"]["fit"] < 5.0
    assert summary["log"]["folder"] == summary_of(run[0])["log"]["folder"]
    # the rules need no training: with the same pages they do the same
    if name == "shop":
        first = summary_of(run[0])["policies"]["ad_greedy"]["true"]
        assert summary["policies"]["ad_greedy"]["true"] == first


@pytest.mark.slow
def test_two_runs_with_one_seed_say_the_same(home: Path, run: tuple[Path, str]) -> None:
    # Why: nothing may hang on what ran before.
    call(train.main, "env=ad_allocate", *SMALL, *QUICK, *below(home, "again"))
    first, second = summary_of(run[0]), summary_of(home / "again")
    assert second["seconds"]["fit"] < 5.0 and second["log"]["folder"] == first["log"]["folder"]
    assert first["policies"] == second["policies"]
    assert first["differences"] == second["differences"]


@pytest.mark.slow
def test_a_run_is_valued_anew(
    run: tuple[Path, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: the run's own shoppers must give the run's own numbers, to the last digit: then a folder
    # holds all that its values hang on, and other shoppers are other shoppers alone.
    (home / "my_ads.py").write_text(
        "def never(observation):\n    return observation.market.ads * 0\n"
    )
    monkeypatch.chdir(home)
    asked = [f"run={run[0]}", "policy=my_ads:never", "device=cpu", f"hydra.run.dir={home / 'v'}"]
    call(evaluate.main, *asked, "sessions=60", "seed=0")
    anew = json.loads((run[0] / "evaluation-seed0-sessions60.json").read_text())
    never = anew["policies"].pop("never")
    first = summary_of(run[0])
    assert anew["policies"] == first["policies"] and anew["hindsight"] == first["hindsight"]
    # what never shows an ad is what the rule without ads is
    assert never == first["policies"]["ad_none"]
    call(evaluate.main, *asked, "sessions=8", "seed=5")
    other = json.loads((run[0] / "evaluation-seed5-sessions8.json").read_text())
    assert other["policies"]["ad_dqn"] != first["policies"]["ad_dqn"]


@pytest.mark.slow
def test_what_is_about_recommenders_takes_no_run_of_ads(run: tuple[Path, str]) -> None:
    # Why: agents.ope opens runs too, and a traceback about features is no answer.
    with pytest.raises(UserError, match=r"placed ads.*recommenders alone.*agents\.evaluate"):
        evaluate.open_run(run[0], torch.device("cpu"))


@pytest.mark.slow
def test_a_session_of_a_run_is_shown_as_it_was_valued(
    run: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: who looks for the shopper behind a number must find that very session, in both shops.
    kept = read_shoppers(run[0])
    assert kept is not None
    for shop in ("learned", "true"):
        columns = kept.columns(shop, "ad_greedy")
        assert columns is not None
        shopper = int(columns["ad_revenue"].argmax())
        call(
            replay.main, f"run={run[0]}", f"shopper={shopper}", f"shop={shop}", "policy=ad_greedy",
            "html=true", f"hydra.run.dir={run[0] / 'replay'}",
        )  # fmt: skip
        said = capsys.readouterr().out
        assert columns["ad_revenue"][shopper] > 0
        assert f"ad revenue {columns['ad_revenue'][shopper]:.3f}, " in said
        assert "price/click" in said and "option: slot (campaign)" in said
        page = run[0] / f"replay-{shop}-shopper{shopper}-ad_greedy.html"
        assert "price/click" in page.read_text()


BAD = [
    ("env.market.pricing=dutch", ("pricing", "dutch", "gsp")),
    ("env.listed=[{item:3,bid:-1,budget:5}]", ("env.listed[0].bid=-1", "at least 0")),
    ("env.campaigns.daily_budget=0", ("env.campaigns.daily_budget=0", "a number")),
    ("env.listed=[{item:3,bid:1,budget:0}]", ("env.listed[0].budget=0", "a number")),
    ("env.rules.min_distance=0", ("env.rules.min_distance=0", "at least 1")),
    ("env.law=weak", ("weak", "none, mild, strong")),
    ("env.load_cap=2", ("env.load_cap=2", "from 0 to 1")),
    ("env.fixed_slots=[12]", ("env.fixed_slots=[12]", "slots from 0 to 9")),
    ("env.weights.take_rate=-1", ("env.weights.take_rate=-1", "from 0 to 1")),
    ("env.market.paceing=none", ("paceing", "pacing")),
    ("agent=dqn", ("agent=dqn", "agent=ad_dqn")),
    ("user_model.ensemble.members=4", ("ensemble", "members=0")),
    ("compile=true", ("compile=true", "env=ad_allocate")),
    ("env.num_sessions=5", ("env.num_sessions=5", "world=loyal", "log.max_sessions=5")),
    ("env.campaigns.num_campaigns=1000", ("campaigns.num_campaigns=1000", "300")),
    ("env.rules.excluded_categories=[99]", ("excluded_categories", "99", "from 0 to 11")),
]


@pytest.mark.parametrize(("asked", "named"), BAD, ids=[asked for asked, _ in BAD])
def test_what_cannot_be_used_ends_in_a_sentence(
    asked: str, named: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: before the log and the fit, which take minutes.
    with pytest.raises(SystemExit) as stopped:
        call(train.main, "env=ad_allocate", asked, *below(tmp_path))
    assert stopped.value.code == 1 and not (tmp_path / "cache").exists()
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert all(part in error for part in named), error


def test_an_agent_of_ads_needs_pages_with_ads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: agent=ad_dqn alone reads as if it were enough.
    with pytest.raises(SystemExit):
        call(train.main, "agent=ad_dqn", *below(tmp_path))
    assert "agent=ad_dqn places ads" in capsys.readouterr().err


@pytest.mark.parametrize("name", ENVS)
def test_every_environment_brings_an_agent_of_ads(name: str) -> None:
    # Why: env=NAME alone has to work, and agent=NAME beside it has to win.
    own = compose("train", f"env={name}")
    assert own["agent"]["_target_"].startswith("agents.ads.")
    other = compose("train", f"env={name}", "agent=ad_linucb")
    assert other["agent"]["_target_"].endswith("AdLinUCB")
    assert own["log"]["ads"]["rules"] == own["env"]["rules"]
    assert compose("train")["log"]["ads"] is None and compose("fit")["log"]["ads"] is None


def test_what_hindsight_could_have_had_by_hand() -> None:
    # Why: two pages of ten slots, a load of 5 %: one ad, and the best pays 0.03. Greedy shows two
    # on each, expected to pay 0.05 and 0.005.
    recording = Recording(GreedyAds())
    pays = torch.tensor([[0.0, 0.03, 0.02, 0.05], [0.0, 0.001, 0.004, 0.005]])
    recording.act(observed(options_of(pays[:1])))
    recording.act(observed(options_of(pays[1:])))
    met = recording.met(0.05, 20.0)
    assert met.num_ads == 4 and met.chosen == pytest.approx(0.055)
    assert met.bound.payment == pytest.approx(0.03) and met.budget == 1.0
    share = met.share()
    assert share is not None and math.isclose(share, 0.055 / 0.03, rel_tol=1e-6)


def test_a_run_that_was_killed_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    # Why: hours of training are lost otherwise; shoppers, ledgers, memory and price all go on.
    def trained_to(folder: Path, steps: int, *, resume: bool = False) -> dict[str, Any]:
        folder.mkdir(exist_ok=True)
        core: Any = core_of("mild", 16)
        offered: dict[str, Any] = {
            "num_features": core.platform.num_features,
            "num_option": core.platform.num_option,
            "load_cap": 0.3,
            "batch_size": 32,
            "learning_starts": 64,
        }
        agent: Any = AdDQN(**offered)
        with Logger(folder) as logger:
            train_agent(
                agent, core, steps=16 * steps, seed=0, logger=logger, folder=folder,
                checkpoint_steps=16 * 10, resume=resume,
            )  # fmt: skip
        return dict(agent.state_dict(learning=True))

    whole = trained_to(tmp_path / "whole", 24)
    trained_to(tmp_path / "half", 10)
    gone_on = trained_to(tmp_path / "half", 24, resume=True)
    assert float(whole["multiplier"]["price"]) > 0.0
    assert same(whole, gone_on)
