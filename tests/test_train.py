"""agents.train, agents.evaluate and recgym.fit: the whole loop, small, as a user would run it."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import FIT, TRAIN, WORLD, below, call

from agents import evaluate, ope, train
from agents.shoppers import read_shoppers
from recgym import fit, progress

pytestmark = pytest.mark.slow
DATA = Path(os.environ.get("RECGYM_DATA", "missing"))
real = pytest.mark.skipif(not DATA.is_dir(), reason="RECGYM_DATA names no folder")

METRICS = {
    "conversion_rate",
    "revenue_per_session",
    "incremental_revenue_per_session",
    "click_through_rate",
    "session_length",
    "coverage",
}
PROMISED = {
    "schema_version", "log", "user_model", "policies", "differences", "kendall_tau",
    "exploitation_gap", "headroom", "environment_steps", "seconds",
}  # fmt: skip
POLICIES = ["nothing", "random", "popular", "greedy", "dqn"]
RANGE_OVER = ["user_model.assumptions.range={rho:[0.9],draws:2,sessions:12}"]
ONE_DRAW = ["user_model.assumptions.range={rho:[0.9],draws:1,sessions:12}"]
MODULE = """
import torch

def first_three(observation):
    return torch.arange(3).expand(len(observation.price), 3)
"""


def summary_of(folder: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (folder / "summary.json").read_text()
    return dict(json.loads(text, parse_constant=refuse))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    call(train.main, *TRAIN, *WORLD, *below(home))
    return home / "run"


def estimates(row: dict[str, Any]) -> None:
    assert set(row) >= METRICS
    for metric, value in row.items():
        assert set(value) == {"mean", "low", "high"}, metric
        if None not in value.values():
            assert value["low"] <= value["mean"] <= value["high"], metric


def test_the_summary_holds_what_was_promised(run: Path) -> None:
    # Why: others read it; a key that moves breaks them.
    summary = summary_of(run)
    assert set(summary) >= PROMISED
    assert set(summary["user_model"]) >= {"name", "nll", "recall_at_20", "on_policy"}
    assert summary["user_model"]["propensities"]["weighed"] is False  # the policy saw no more
    assert set(summary["seconds"]) == {"log", "fit", "train", "evaluate"}
    assert summary["environment_steps"] == 960
    policies = summary["policies"]
    assert list(policies)[-1] == "oracle" and set(POLICIES) < set(policies)
    assert policies["oracle"]["learned"] is None
    for name, shops in policies.items():
        assert set(shops) == {"learned", "true"}
        for shop, row in shops.items():
            if (name, shop) != ("oracle", "learned"):
                estimates(row)
    assert set(summary["differences"]) == {"learned", "true"}
    for metric in ("conversion_rate", "revenue_per_session", "incremental_revenue_per_session"):
        pair = summary["differences"]["true"]["dqn"]["popular"][metric]
        assert set(pair) == {"mean", "low", "high"}
    nothing = policies["nothing"]["true"]
    assert nothing["click_through_rate"]["mean"] is None and nothing["coverage"]["mean"] == 0.0
    assert nothing["incremental_revenue_per_session"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_a_run_folder_stands_on_its_own(run: Path) -> None:
    # Why: it is sent to colleagues, and a cache is emptied.
    left = {path.name for path in run.iterdir()}
    assert left >= {"summary.json", "config.yaml", "table.txt", "agent.pt", "model"}
    assert not [name for name in left if name.endswith(".tmp")]
    table = (run / "table.txt").read_text().splitlines()
    assert [line.split()[0] for line in table[2:]] == list(summary_of(run)["policies"])


def test_a_run_keeps_each_shoppers_numbers(run: Path) -> None:
    # Why: runs are compared pair by pair; what is kept must be what the summary was made of.
    kept, summary = read_shoppers(run), summary_of(run)
    assert kept is not None and kept.meta["log"] == Path(summary["log"]["folder"]).name
    for name, shops in summary["policies"].items():
        for shop, row in shops.items():
            if row is None:
                continue
            columns = kept.columns(shop, name)
            assert columns is not None
            assert len(columns["converted"]) == kept.meta["sessions"] == 60
            mean = row["revenue_per_session"]["mean"]
            assert columns["credited_revenue"].mean() == pytest.approx(mean, rel=1e-5)
            assert columns["converted"].mean() == pytest.approx(row["conversion_rate"]["mean"])


def test_tensorboard_shows_curves_policies_and_a_figure(run: Path) -> None:
    # Why: the README names these tags.
    events = EventAccumulator(str(run))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    curves = {"agent/loss", "agent/q_null", "train/reward", "train/clicks_per_page"}
    values = {
        f"policy_{shop}/{name}/incremental_revenue_per_session"
        for shop in ("learned", "true")
        for name in POLICIES
    }
    assert scalars >= curves | values
    assert any(tag.startswith("fit/") or "nll" in tag for tag in scalars)
    assert set(events.Tags()["images"]) == {"policies", "funnel", "calibration"}
    assert set(events.Tags()["histograms"]) == {"shown/price", "agent/q_values"}
    texts = {"log card/text_summary", "verdict/text_summary", "config/text_summary"}
    assert texts <= set(events.Tags()["tensors"])
    row = summary_of(run)["policies"]["dqn"]
    for shop in ("learned", "true"):
        for metric in ("conversion_rate", "revenue_per_session"):
            told = events.Scalars(f"result_{shop}/{metric}")[-1].value
            assert told == pytest.approx(row[shop][metric]["mean"])
    assert "speed/steps_per_second" in scalars


def test_the_projector_shows_items_with_category_and_price(run: Path) -> None:
    # Why: one look says whether the fit found what belongs together.
    rows = (run / "00000" / "items" / "metadata.tsv").read_text().splitlines()
    vectors = (run / "00000" / "items" / "tensors.tsv").read_text().splitlines()
    assert rows[0] == "item\tcategory\tprice" and len(rows) == 31 and len(vectors) == 30
    item, _, price = rows[1].split("\t")
    assert 0 <= int(item) < 30 and float(price) > 0.0
    assert len(vectors[0].split("\t")) == 4  # the embedding that was asked for


def without_timings(summary: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in summary.items() if key != "seconds"}
    return {**kept, "log": {k: v for k, v in kept["log"].items() if k != "folder"}}


def test_a_second_run_reuses_log_and_fit_and_says_the_same(
    run: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: two runs with one seed give one summary, and what has not changed is not made again.
    call(train.main, *TRAIN, *WORLD, *below(home, "again"))
    said = capsys.readouterr().out
    assert "log: reused" in said and "user model: reused" in said
    first, second = summary_of(run), summary_of(home / "again")
    assert without_timings(first) == without_timings(second)
    assert second["seconds"]["log"] + second["seconds"]["fit"] < 1.5


def test_a_run_from_nothing_says_the_same(run: Path, home: Path) -> None:
    # Why: nothing may hang on the cache, on its place, or on what ran before in this process.
    other = home / "elsewhere"
    call(train.main, *TRAIN, *WORLD, *below(other))
    assert without_timings(summary_of(run)) == without_timings(summary_of(other / "run"))


def test_anyones_policy_is_valued_in_a_finished_run(
    run: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: the A/B test's candidate is rarely ours.
    (home / "my_candidate.py").write_text(MODULE)
    monkeypatch.chdir(home)
    arguments = ["sessions=50", "seed=3", "device=cpu", f"hydra.run.dir={home / 'valued'}"]
    call(evaluate.main, f"run={run}", "policy=my_candidate:first_three", *arguments)
    valued = json.loads((run / "evaluation-seed3-sessions50.json").read_text())
    assert set(valued["policies"]) == {*POLICIES, "logging", "oracle", "first_three"}
    estimates(valued["policies"]["first_three"]["true"])
    assert valued["policies"]["first_three"]["learned"]["coverage"]["mean"] == pytest.approx(3 / 30)


def test_the_evaluated_agent_is_the_trained_one(run: Path, home: Path) -> None:
    # Why: on the training run's own evaluation seed and sessions, its numbers must come again.
    arguments = ["sessions=60", "seed=0", "device=cpu", f"hydra.run.dir={home / 'valued'}"]
    call(evaluate.main, f"run={run}", *arguments)
    valued = json.loads((run / "evaluation-seed0-sessions60.json").read_text())
    first = summary_of(run)["policies"]["dqn"]
    for shop in ("learned", "true"):
        assert valued["policies"]["dqn"][shop] == first[shop]


def test_a_baseline_can_be_the_agent(run: Path, home: Path) -> None:
    # Why: `agent=popular` must not ask for what only learners have.
    plain = [x for x in TRAIN if not x.startswith("agent.")]
    few = "evaluation.sessions=8"
    call(train.main, "agent=popular", *plain, *WORLD, few, *below(home, "popular"))
    summary = summary_of(home / "popular")
    assert summary["agent"] == "popular" and summary["environment_steps"] == 0


LIFT = re.compile(r"[+-]\d+\.\d{3}(?!%)")
RANGE = re.compile(r"\([+-]\d+\.\d{3} to [+-]\d+\.\d{3}\)")


def without_range(said: str) -> list[str]:
    """Lines that hold a lift of the learned shop, or what is made from one, and no range."""
    bare, truth = [], None
    for line in said.splitlines():
        truth = line.index("true: ") if line.startswith("policy ") and "true: " in line else truth
        learned = line[:truth]  # what the true shop says rests on no assumption
        if LIFT.search(learned) and not RANGE.search(learned):
            bare.append(line)
        if "exploitation gap" in line and re.search(r"\d% (?!\(|to)", line):
            bare.append(line)
        truth = None if not line.strip() else truth
    return bare


def lifts(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Every estimate of a lift in the learned shop."""
    rows = [row["learned"] for row in summary["policies"].values() if row["learned"]]
    pairs = [p for others in summary["differences"]["learned"].values() for p in others.values()]
    found = [row["incremental_revenue_per_session"] for row in rows]
    return found + [estimate for pair in pairs for estimate in pair.values()]


def test_the_claims_of_a_run_are_held_against_its_log(run: Path, tmp_path: Path) -> None:
    # Why: the whole path of agents.ope; a log of some hundred sessions says too little, and that
    # is said beside each policy.
    call(ope.main, f"run={run}", f"hydra.run.dir={tmp_path}")
    found = json.loads((run / "off_policy.json").read_text())
    assert set(found["policies"]) >= {"random", "popular", "greedy", "dqn"}
    for one in found["policies"].values():
        assert one["pages"] > 0 and one["clicks"]["claim"] > 0.0
    assert found["policies"]["greedy"]["overlap"]["warning"]
    assert found["claimed"]["greedy"] is not None


@pytest.fixture(scope="module")
def bare(home: Path) -> tuple[Path, str]:
    """A run on a log that does not say what was shown, and all that it printed."""
    few = [*WORLD, "log.impressions=false", "steps=320", "evaluation.sessions=30", *RANGE_OVER]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.console, "_file", said)  # its property would stay set
        call(train.main, *TRAIN, *few, *below(home, "bare"))
    return home / "bare", said.getvalue()


def test_a_bare_click_log_trains_on_named_assumptions(bare: tuple[Path, str]) -> None:
    # Why: most logs do not say what was shown; the summary must say what was assumed instead.
    folder, said = bare
    summary = summary_of(folder)
    assert summary["user_model"]["assumptions"]["rho"] == 0.3
    assert summary["policies"]["dqn"]["true"] is not None
    assert summary["assumed"]["shops"] == 3 and summary["assumed"]["rho"] == [0.3, 0.9]
    assert "assumed: " in said and "Kendall tau" in said


def test_no_lift_is_given_without_its_range(bare: tuple[Path, str], home: Path) -> None:
    # Why: a lift in the one shop that was assumed reads as knowledge, and is a guess.
    folder, said = bare
    arguments = ["sessions=20", "seed=2", "device=cpu", f"hydra.run.dir={home / 'valued'}"]
    valued = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.console, "_file", valued)  # its property would stay set
        call(evaluate.main, f"run={folder}", *arguments)
    for text in (said, valued.getvalue(), (folder / "table.txt").read_text()):
        assert len(RANGE.findall(text)) == 2 * len(POLICIES)
        assert not without_range(text)
    for name in ("summary.json", "evaluation-seed2-sessions20.json"):
        found = lifts(json.loads((folder / name).read_text()))
        assert len(found) == len(POLICIES) + 3 * 10
        assert all(one["range"]["worst"] <= one["mean"] <= one["range"]["best"] for one in found)


def test_tensorboard_shows_no_lift_without_its_range(bare: tuple[Path, str]) -> None:
    # Why: what is looked at most is a curve or a figure, not the summary.
    events = EventAccumulator(str(bare[0]))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    for name in POLICIES:
        tag = f"policy_learned/{name}/incremental_revenue_per_session"
        assert {tag, f"{tag}_worst", f"{tag}_best"} <= tags
    texts = [tag for tag in events.Tags()["tensors"] if tag.startswith("verdict")]
    said = events.Tensors(texts[0])[0].tensor_proto.string_val[0].decode()
    assert len(RANGE.findall(said)) == 2 * len(POLICIES)


def test_the_test_for_ranges_sees_a_bare_lift() -> None:
    # Why: a test that cannot fail holds nothing.
    table = "policy   incremental   true: incremental\ngreedy   +0.120        +0.200\n"
    assert without_range(table) == ["greedy   +0.120        +0.200"]
    assert without_range("greedy   +0.120 [+0.100, +0.150]") != []
    assert without_range("greedy   +0.120 (+0.010 to +0.300)") == []
    assert without_range("exploitation gap of dqn: +44.0% on incremental revenue") != []


@real
def test_rees46_trains_to_the_end(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: a real log has no truth and no impressions, and the loop must run and say so.
    with gzip.open(DATA / "rees46" / "2019-Oct.csv.gz", "rt") as file:
        path = home / "2019-Oct.csv"
        path.write_text("".join(islice(file, 2_001)))
    few = ["user_model.fit.batch_steps=8192", "evaluation.sessions=12", "steps=128", *ONE_DRAW]
    call(train.main, *TRAIN, *few, "log=rees46", f"log.path={path}", *below(home, "rees46"))
    summary, said = summary_of(home / "rees46"), capsys.readouterr().out
    assert all(shops["true"] is None for shops in summary["policies"].values())
    assert "oracle" not in summary["policies"] and summary["kendall_tau"] is None
    assert summary["policies"]["dqn"]["learned"]["revenue_per_session"]["mean"] is not None
    sentence = summary["user_model"]["assumptions"]["sentence"]
    assert f"assumed: {sentence}" in said
    assert "the true shop is unknown" in said
    assert RANGE.search(said) and not without_range(said)


@real
def test_taobao_cleans_and_fits(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: no prices, no sessions, thousands of items in the first rows; money must stay unknown.
    with gzip.open(DATA / "taobao" / "UserBehavior.csv.gz", "rt") as file:
        path = home / "UserBehavior.csv"
        path.write_text("".join(islice(file, 2_000)))
    few = ["user_model.fit.batch_steps=8192", "user_model.on_policy.sessions=30"]
    call(fit.main, *FIT, *few, "log=taobao", f"log.path={path}", *below(home, "taobao"))
    said = capsys.readouterr().out
    assert "user model: fitted" in said and "model:" in said
    row = next(line for line in said.splitlines() if line.startswith("revenue_per_session"))
    assert row.split()[1:] == ["-", "-", "-"]


@pytest.mark.slow
def test_an_ensemble_trains_in_one_half_and_scores_in_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: no agent marks its own work, and a run says it in words, now and when valued again.
    asked = ["user_model.ensemble.members=4", "pessimism=1", *WORLD, *TRAIN]
    asked += ["log.num_sessions=200", "steps=320", "evaluation.sessions=16"]
    call(train.main, *asked, *below(tmp_path))
    run = tmp_path / "run"
    summary = json.loads((run / "summary.json").read_text())
    found = summary["cross_scored"]
    assert set(found["lift"]) == set(summary["policies"]) - {"nothing", "oracle"}
    assert found["lift"]["dqn"]["low"] <= found["lift"]["dqn"]["mean"]
    assert summary["policies"]["dqn"]["scored"]["revenue_per_session"]["mean"] > 0
    assert summary["exploitation_gap_scored"] is not None or (
        summary["policies"]["dqn"]["true"]["incremental_revenue_per_session"]["mean"] <= 0
    )
    said = capsys.readouterr().out
    assert "members that it never met" in said and "scored: incremental" in said
    models = [(run / "members" / str(m) / "model.pt").read_bytes() for m in range(4)]
    assert len(set(models)) == 4  # each of its own shoppers and seed
    call(evaluate.main, f"run={run}", "sessions=16", "seed=0", f"hydra.run.dir={tmp_path / 'e'}")
    again = json.loads((run / "evaluation-seed0-sessions16.json").read_text())
    assert again["cross_scored"] == found


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("pessimism=1", "pessimism=1 needs an ensemble whose members can part"),
        ("pessimism=-1", "pessimism=-1: expected a number of at least 0"),
        ("user_model.ensemble.members=3", "ensemble.members=3: expected 0, or an even number"),
        ("user_model.ensemble.members=2", "ensemble.members=2: expected 0, or an even number"),
    ],
)
def test_an_ensemble_that_cannot_be_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(train.main, asked, *WORLD, *TRAIN, *below(tmp_path))
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err


def test_an_ensemble_of_a_log_without_impressions_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: no lift is printed without its range over assumptions, and members have none.
    asked = ["log.impressions=false", "user_model.ensemble.members=4"]
    with pytest.raises(SystemExit) as ended:
        call(train.main, *asked, *WORLD, *TRAIN, *below(tmp_path))
    assert ended.value.code == 1
    assert "members=4 needs a log that says what was shown" in capsys.readouterr().err


def test_a_fit_alone_takes_no_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: a setting without effect is a promise that is not kept.
    with pytest.raises(SystemExit) as ended:
        call(fit.main, "user_model.ensemble.members=4", *WORLD, *FIT, *below(tmp_path))
    assert ended.value.code == 1
    assert "members=4 has no effect on a fit alone" in capsys.readouterr().err
