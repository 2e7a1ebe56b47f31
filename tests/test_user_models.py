"""experiments.user_models: models side by side, and the true shop as the floor below them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from family import F64, SLOTS, log_of, made
from omegaconf import OmegaConf
from probe_shop import FOUND, PRICE, ProbeShop
from tiny import call, compose
from torch.nn import functional as F  # noqa: N812

from agents.baselines import Random
from experiments.comparing.floor import Foresight, of_profile
from experiments.comparing.jobs import cells_of
from experiments.comparing.scores import Scores, Tally, scored
from experiments.user_models import main, table
from recgym.build import build
from recgym.errors import UserError
from recgym.lanes import where
from recgym.logs.log import open_log
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.types import After, Split
from recgym.users.report import predictive_report
from recgym.users.sessions import rows_of
from recgym.users.store import load_model, save_model
from recgym.worlds.arrivals import segment_of
from recgym.worlds.taste import TasteShop

NUM_SESSIONS = 24


def test_the_true_shop_is_scored_by_its_own_chances() -> None:
    # Why: by hand. Nobody leaves or pays before the first view, and no gap comes before it: the
    # chance of a first step is that of finding the item, times that of what follows: of buying
    # b = 10 / (10 + price), of carting (1 - b) b, of either rest (1 - b)² / 2.
    shop = ProbeShop(dtype=F64)
    simulator = Simulator(shop, num_slots=1, expected_revenue=False, dtype=F64)
    seed_N = torch.arange(40)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    _, outcome = simulator.step(state, simulator.page(state, torch.full((40, 1), -1)))
    scores = Scores(shop, lambda now: now.user)
    scores(seed_N, state, None, outcome)  # type: ignore[arg-type]
    event = outcome.event
    assert set(event.after.tolist()) == set(map(int, After))  # each of them was met
    for lane in range(40):
        buy = 10.0 / (10.0 + float(event.price[lane]))
        rest = (1.0 - buy) ** 2 / 2
        follows = [rest, rest, (1.0 - buy) * buy, buy][int(event.after[lane])]
        chance = FOUND[int(event.item[lane])] * follows
        assert float(scores.nll[0][lane].exp()) == pytest.approx(1 / chance)
    day_0 = event.price < 1.05 * torch.tensor(PRICE, dtype=F64)[event.item]
    assert bool(day_0.any()) and not bool(day_0.all())  # the price is that of the day
    assert not scores.next_nll  # a first view follows no other


def test_fresh_shoppers_are_scored_as_a_report_scores_a_log() -> None:
    # Why: two ways of counting one figure would show a gap to the floor that is none.
    world: Any = made("attention")
    sessions = log_of(NUM_SESSIONS)
    every_B = torch.arange(NUM_SESSIONS)
    for name in ("attention", "gru"):
        model = made(name)
        expected = predictive_report(model, sessions, every_B, every_B)
        policy = Random(num_slots=SLOTS)
        found, floor = scored(
            model, world, policy, num_slots=SLOTS, num_sessions=NUM_SESSIONS, seed=0, dtype=F64
        )
        for key in ("nll", "nll_next_view", "recall_at_20"):
            assert found[key] == pytest.approx(expected[key], abs=1e-9), (name, key)
        if name == "attention":
            # the world itself: but it knows no more of its shoppers than a model of them does
            assert floor == pytest.approx(found, abs=1e-9)
        else:
            assert floor["nll"] is not None and found["nll"] is not None
            assert floor["nll"] < found["nll"]


def test_a_profile_tells_what_a_shopper_may_be() -> None:
    # Why: by hand. A channel is right with chance 0.6 + 0.4 / 6 and wrong with 0.4 / 6, and thrift
    # lies one standard deviation from what the profile shows: 1/2 off, and log sqrt(2 pi).
    world = TasteShop(num_items=10, dtype=F64)
    seed_L = torch.arange(2)
    segment_L, thrift_L = segment_of(seed_L, world.knobs, F64)
    channel_LS = F.one_hot(torch.stack([segment_L[0], (segment_L[1] + 1) % 6]), 6).to(F64)
    profile_LP = torch.cat([channel_LS, thrift_L.unsqueeze(-1) + 1.0], -1)
    expected = [math.log(chance) - 0.5 - 0.9189385 for chance in (2 / 3, 1 / 15)]
    assert of_profile(world, seed_L, profile_LP).tolist() == pytest.approx(expected)


@torch.no_grad()
def test_who_can_only_be_one_shopper_is_foreseen_as_by_who_knows() -> None:
    # Why: the floor must be the shop's own law, page after page, with what the pages left behind;
    # and of two who may be, the first step's chance is the mean of both.
    world = TasteShop(num_items=30, dtype=F64)
    simulator = Simulator(world, num_slots=SLOTS, expected_revenue=False, dtype=F64)
    seed_B = torch.arange(6)
    arrival = world.arrive(seed_B, torch.zeros_like(seed_B))
    knows, sees, both = Scores(world, lambda now: now.user), Tally(), Tally()
    one = Foresight(world, arrival, 1, sees)
    one.state = world.init_state(arrival)
    two = Foresight(world, arrival, 2, both)
    twice_L = torch.arange(12) // 2
    own, other = world.init_state(arrival), world.init_state(arrival.lanes((seed_B + 1) % 6))
    two.state = where(torch.arange(12) % 2 == 0, own.lanes(twice_L), other.lanes(twice_L))
    two.weight_BM.zero_()
    spec, heard = ObservationSpec(simulator, "history"), (knows, one, two)

    def on_step(*step: Any) -> None:
        for hears in heard:
            hears(*step)

    policy = Random(num_slots=SLOTS)
    rollout(spec, policy, seed_B, torch.zeros_like(seed_B), lanes=6, on_step=on_step)
    for ours, theirs in zip(sees.nll, knows.nll, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    assert sees.figures() == pytest.approx(knows.figures())
    first = Foresight(world, arrival, 1, Tally())
    first.state = other
    state = simulator.reset(seed_B, torch.zeros_like(seed_B))
    page = simulator.page(state, policy.act(spec.observe(state)))
    _, outcome = simulator.step(state, page)
    first(seed_B, state, spec.observe(state), outcome)
    mean_B = ((-knows.nll[0]).exp() + (-first.heard.nll[0]).exp()) / 2
    torch.testing.assert_close(both.nll[0], -mean_B.log(), rtol=0, atol=1e-9)
    nll = both.figures()["nll"], knows.figures()["nll"]
    assert nll[0] is not None and nll[1] is not None and nll[0] > nll[1]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs on one log, as a training leaves them, their models untrained."""
    folder = tmp_path_factory.mktemp("sweep")
    small = ["log.num_sessions=100", "world.num_items=30", "num_slots=3"]
    for number, name in enumerate(("lstm", "gru")):
        settings = compose("train", f"user_model={name}", *small)
        log, _, _ = prepare_log(settings["log"], folder / "cache", {})
        sessions = log.sessions()
        torch.manual_seed(0)
        chosen = {**settings["user_model"]["model"], "hidden": 8, "embedding": 4}
        model = build(
            chosen, catalog=log.catalog(), seen_I=log.seen_item(), profile_BP=sessions.profile,
            start_ms_B=sessions.time_ms[sessions.offset[:-1]],
        )  # fmt: skip
        job = folder / str(number)
        save_model(model.eval(), job / "model", {})
        OmegaConf.save(OmegaConf.create(settings), job / "config.yaml")
        summary = {
            "user_model": {"name": name}, "log": {"folder": str(log.folder)},
            "kendall_tau": 0.6, "regret": None, "exploitation_gap": 0.1,
        }  # fmt: skip
        (job / "summary.json").write_text(json.dumps(summary))
    return folder


FEW = (
    "num_sessions=3",
    "lanes=8",
    "draws=4",
    "repeats=1",
    "least_seconds=0.01",
    "num_threads=1",
    "predictors=[popularity,vsknn]",
)
SEEING, KNOWING = "true shop, seeing what a site sees", "true shop, knowing each shopper"


def test_a_sweep_becomes_a_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(main, f"sweep={sweep}", *FEW, f"hydra.run.dir={sweep / 'h'}")
    (content,) = json.loads((sweep / "user_models.json").read_text())["cells"]
    models = content["models"]
    assert set(models) == {"lstm", "gru", KNOWING, SEEING}
    assert models[KNOWING]["fresh"]["nll"] < models["gru"]["fresh"]["nll"]
    # X = 2 (4 + 1) + 6 + 3 = 19 inputs, H = 8: 4 · 8 (19 + 8 + 2) and 3 · 8 (19 + 8 + 2)
    assert models["lstm"]["costs"]["memory_parameters"] == 928
    assert models["gru"]["costs"]["memory_parameters"] == 696
    lines = table([models]).splitlines()
    assert lines[-1].startswith(f"| {KNOWING} | ") and lines[-1].endswith("| - | - | - |")
    assert lines[-2].startswith(f"| {SEEING} | ") and "beside" not in lines[0]
    assert "| 928 | " in table([models]) and "| 0.60 | - | +10% |" in table([models])
    said = capsys.readouterr().out
    assert "| lstm | " in said and (sweep / "user_models.md").read_text().strip() in said
    # what the models say of the log's own test sessions, with predictors that give no law
    ahead = content["next_view"]
    assert set(ahead) == {"lstm", "gru", "popularity", "vsknn"}
    folder = sweep / "0"
    log = open_log(json.loads((folder / "summary.json").read_text())["log"]["folder"])
    sessions, test = log.sessions(), (Split.TEST, Split.TEST_NEW)
    report = predictive_report(
        load_model(folder / "model"), sessions, rows_of(sessions, Split.TRAIN),
        rows_of(sessions, *test),
    )  # fmt: skip
    for key in ("nll_next_view", "recall_at_20", "mrr_at_20"):
        assert ahead["lstm"][key] == pytest.approx(report[key])
    for kind, rows in content["follow_ups"].items():
        assert rows["lstm"]["roc_auc"] == pytest.approx(report[f"{kind}_auc"])
        assert rows["lstm"]["rate"] == pytest.approx(report[f"{kind}_rate"])
        assert rows["lstm"]["ece"] == pytest.approx(report[f"{kind}_ece"])
        assert f"| {kind}, given the view | precision | " in said
    assert "cart" in content["follow_ups"]
    asked = content["intent"]
    assert asked["events"] == 5 and 0 <= asked["bought"] <= asked["sessions"] <= 10
    assert f"{asked['bought']} of {asked['sessions']} held-out sessions of 5 events" in said
    assert "| vsknn | - | " in said and "| popularity | - |" not in said


def test_seeds_of_a_sweep_become_means_with_intervals(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a second seed whose models are those of the first adds nothing: each figure is what it
    # was, and the two models differ by exactly what they did.
    for number in ("0", "1"):
        for seed in (0, 1):
            job = tmp_path / f"{number}_{seed}"
            shutil.copytree(sweep / number, job)
            config = OmegaConf.load(job / "config.yaml")
            config.user_model.seed = seed
            OmegaConf.save(config, job / "config.yaml")
    assert [(cell.seed, set(cell.jobs)) for cell in cells_of(tmp_path)] == [
        (0, {"lstm", "gru"}),
        (1, {"lstm", "gru"}),
    ]
    call(main, f"sweep={tmp_path}", *FEW, f"hydra.run.dir={tmp_path / 'h'}")
    first, second = json.loads((tmp_path / "user_models.json").read_text())["cells"]
    assert (first["seed"], second["seed"]) == (0, 1) and first["log"] == second["log"]
    assert first["next_view"] == second["next_view"]
    fresh = [first["models"][name]["fresh"]["nll"] for name in ("lstm", "gru")]
    best, apart = ("lstm", "gru")[fresh[1] < fresh[0]], abs(fresh[0] - fresh[1])
    said = capsys.readouterr().out
    assert f"| NLL a step | NLL a step beside {best} |" in said
    assert f"| {min(fresh):.4f} | - |" in said and f"| {apart:+.4f} |" in said
    asked = 2 * first["intent"]["sessions"]
    assert f"of {asked} held-out sessions of 5 events" in said
    shutil.rmtree(tmp_path / "1_1")
    with pytest.raises(UserError, match=r"user_model=gru on log-\S+ with user_model.seed=1"):
        cells_of(tmp_path)


def test_fits_alone_are_compared_without_a_true_shop(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a shop's own log has no true shop behind it, and one without prices trains no agent.
    job = tmp_path / "0"
    shutil.copytree(sweep / "1", job)
    summary = json.loads((job / "summary.json").read_text())
    (job / "summary.json").unlink()
    del summary["user_model"]["name"]
    (job / "fit.json").write_text(json.dumps(summary))
    config = OmegaConf.load(job / "config.yaml")
    config.log = {"_target_": "recgym.logs.csv.Csv", "path": "elsewhere.csv"}
    OmegaConf.save(config, job / "config.yaml")
    call(main, f"sweep={tmp_path}", "predictors=[markov]", f"hydra.run.dir={tmp_path / 'h'}")
    (content,) = json.loads((tmp_path / "user_models.json").read_text())["cells"]
    assert content["models"] == {} and set(content["next_view"]) == {"gru", "markov"}
    (whole,) = json.loads((sweep / "user_models.json").read_text())["cells"]
    assert content["next_view"]["gru"] == whole["next_view"]["gru"]
    said = capsys.readouterr().out
    assert "| next view | " in said and "| user model | " not in said


def test_settings_that_differ_tell_jobs_of_one_model_apart(sweep: Path, tmp_path: Path) -> None:
    # Why: whether a switch or a fusion helps is asked of one model, on the same logs as another.
    for number, mask in (("0", 0.0), ("0", 0.2), ("1", 0.0)):
        job = tmp_path / f"{number}_{mask}"
        shutil.copytree(sweep / number, job)
        config = OmegaConf.load(job / "config.yaml")
        config.user_model.fit.mask = mask
        OmegaConf.save(config, job / "config.yaml")
    (cell,) = cells_of(tmp_path)
    assert {row: folder.name for row, folder in cell.jobs.items()} == {
        "lstm, mask=0.0": "0_0.0",
        "lstm, mask=0.2": "0_0.2",
        "gru": "1_0.0",
    }


def test_a_sweep_that_cannot_be_compared_ends_in_a_sentence(sweep: Path, tmp_path: Path) -> None:
    # Why: sweeps of ads, and files of a disk that filled up, lie in the same places.
    with pytest.raises(UserError, match="no finished job: expected the folder"):
        cells_of(tmp_path)
    for number, (name, log) in enumerate((("lstm", "one"), ("gru", "two"), ("gru", "two"))):
        for empty in (tmp_path / str(number) / "model", tmp_path / log):
            empty.mkdir(parents=True, exist_ok=True)
        shutil.copy(sweep / "1" / "config.yaml", tmp_path / str(number))
        (tmp_path / log / "meta.json").write_text("{}")
        summary: Any = {"user_model": {"name": name}, "log": {"folder": str(tmp_path / log)}}
        (tmp_path / str(number) / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match="two jobs with user_model=gru"):
        cells_of(tmp_path)
    (tmp_path / "2" / "summary.json").unlink()
    with pytest.raises(UserError, match="no finished job with user_model=gru on one"):
        cells_of(tmp_path)
    assert [set(cell.jobs) for cell in cells_of(sweep)] == [{"lstm", "gru"}]
    for content, said in (({"env": "ad_price"}, "0 placed ads"), ({"log": {}}, "is damaged")):
        place = {"folder": str(tmp_path / "one")}
        summary = {"user_model": {"name": "lstm"}, "log": place, **content}
        (tmp_path / "0" / "summary.json").write_text(json.dumps(summary))
        with pytest.raises(UserError, match=said):
            cells_of(tmp_path)
