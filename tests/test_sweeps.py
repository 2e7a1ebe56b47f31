"""Sweeps: jobs side by side share one log and one fit, may fail or be killed, and go on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from tiny import TRAIN, WORLD, call

from agents import jobs, loop, sweeps, train
from agents.checks import check
from recgym.errors import UserError

EXPERIMENTS = Path(__file__).resolve().parents[1] / "conf" / "experiment"
SMALL = [*TRAIN, *WORLD, "checkpoint_steps=160", "steps=320", "evaluation.sessions=4"]
SWEEP = ["agent.gamma=0,0.9", "pessimism=0,1"]  # without an ensemble the second fails
BASIC = "hydra/launcher=basic"


def here(home: Path, name: str = "sweep") -> list[str]:
    return [f"cache_dir={home / 'cache'}", f"sweep={home / name}"]


def summary_of(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    del summary["seconds"]
    return summary


def stopped(capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[str, str]:
    """What a sweep that ends with exit code 1 prints, on both streams."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as code:
        call(train.main, "-m", *overrides)
    assert code.value.code == 1
    return capsys.readouterr()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it a sweep of four jobs, two at a time from an empty cache, two of which fail."""
    home = tmp_path_factory.mktemp("sweeps")
    with pytest.raises(SystemExit) as code:
        call(train.main, "-m", *SWEEP, *SMALL, *here(home), "hydra.launcher.n_jobs=2")
    assert code.value.code == 1
    return home


@pytest.mark.slow
def test_jobs_side_by_side_make_one_log_and_one_fit(home: Path) -> None:
    # Why: a fit takes minutes to hours, and all jobs ask for it at the same moment.
    said = [(home / "sweep" / str(job) / "output.txt").read_text() for job in (0, 2)]
    assert sum("user model: fitted" in text for text in said) == 1
    assert sum("user model: reused" in text for text in said) == 1
    kinds = sorted(path.name.split("-")[0] for path in (home / "cache").iterdir())
    assert kinds == ["locks", "log", "model"]
    random = [summary_of(home / "sweep" / job)["policies"]["random"] for job in "02"]
    assert random[0] == random[1]
    configs = [(home / "sweep" / job / "config.yaml").read_text() for job in "02"]
    assert "gamma: 0\n" in configs[0] and "gamma: 0.9\n" in configs[1]


@pytest.mark.slow
def test_a_job_that_fails_says_why_and_the_others_end(home: Path) -> None:
    # Why: one bad setting in a night's sweep must not cost the night, and the report names it.
    failed = {path.parent.name: path for path in (home / "sweep").glob("*/failed.json")}
    assert sorted(failed) == ["1", "3"] and not (home / "sweep" / "1" / "summary.json").exists()
    left = json.loads(failed["1"].read_text())
    assert left["schema_version"] == 1 and left["kind"] == "UserError"
    assert left["error"].startswith("pessimism=1 needs an ensemble")
    assert {"agent.gamma=0", "pessimism=1"} < set(left["overrides"])
    assert not (home / "sweep" / "1" / "traceback.txt").exists()


@pytest.mark.slow
def test_the_same_command_skips_what_is_over(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a sweep that was stopped goes on; what is paid for is not paid again.
    before = [(home / "sweep" / job / "summary.json").stat().st_mtime_ns for job in "02"]
    out, err = stopped(capsys, *SWEEP, *SMALL, *here(home), BASIC)
    assert out.count(": was over") == 2 and "job 1 agent.gamma=0 pessimism=1 failed: " in out
    assert "sweep        2 of 4 jobs are over" in out
    assert err.startswith("error: 2 jobs of ") and "failed (1, 3), 1 of them with: pess" in err
    assert "Traceback" not in out + err
    assert before == [(home / "sweep" / job / "summary.json").stat().st_mtime_ns for job in "02"]


@pytest.mark.slow
def test_a_folder_holds_one_sweep(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: jobs are told apart by their number, which means something else in another sweep.
    _, err = stopped(capsys, "agent.gamma=0,0.5", *SMALL, *here(home), BASIC)
    assert "holds a sweep with other settings (agent.gamma=0,0.9 pessimism=0,1 " in err
    assert "sweep=DIR" in err and "Traceback" not in err


@pytest.mark.slow
def test_a_killed_job_goes_on_and_ends_as_if_nothing_had_been(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: a sweep that is killed half-way and started again must end with the same report.
    alone = ["agent.gamma=0.9", *SMALL, *here(home, "killed"), BASIC]
    save = loop.save

    def killing(state: dict[str, Any], path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save", killing)
        with pytest.raises(KeyboardInterrupt):
            call(train.main, "-m", *alone)
    run = home / "killed" / "0"
    left = {path.name for path in run.iterdir()}
    assert "resume.pt" in left and not {"summary.json", "failed.json"} & left
    call(train.main, "-m", *alone)
    assert not (run / "resume.pt").exists()
    assert summary_of(run) == summary_of(home / "sweep" / "2")


@pytest.mark.slow
def test_a_job_of_the_queue_comes_to_the_same(home: Path) -> None:
    # Why: submitit's local executor is Slurm's path without Slurm: the job is pickled, run by
    # another Python that knows nothing of this one, and its result is read back.
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    queued = ["agent.gamma=0", *SMALL, *here(home, "queue"), "hydra/launcher=local_queue"]
    call(train.main, "-m", *queued)
    assert summary_of(home / "queue" / "0") == summary_of(home / "sweep" / "0")
    assert list((home / "queue" / ".submitit").glob("*/*_result.pkl"))


@pytest.mark.slow
def test_a_job_of_a_ray_cluster_comes_to_the_same(home: Path) -> None:
    # Not in CI, whose environment lacks the extra: pip install -e ".[ray]" pytest, and -k ray.
    # Why: Ray pickles the job into a worker that knows nothing of this process, and a cluster that
    # runs already refuses settings that it would take from whoever starts it.
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    ray, clusters = (pytest.importorskip(name) for name in ("ray", "ray.cluster_utils"))
    cluster = clusters.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        address = f"hydra.launcher.ray.init.address={cluster.address}"
        queued = ["agent.gamma=0", *SMALL, *here(home, "ray"), "hydra/launcher=ray_cluster"]
        call(train.main, "-m", *queued, address)
    finally:
        ray.shutdown()  # it does not take down what this process is connected to
        cluster.shutdown()
    assert summary_of(home / "ray" / "0") == summary_of(home / "sweep" / "0")


@pytest.mark.slow
def test_a_bug_leaves_its_traceback_in_the_job(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a sentence is all that a user can use, and nothing that a bug can be found by.
    monkeypatch.setattr(train, "run", lambda *a, **k: {}["nothing"])
    out, err = stopped(capsys, "agent.gamma=0.9", *SMALL, *here(home, "bug"), BASIC)
    left = json.loads((home / "bug" / "0" / "failed.json").read_text())
    assert left["kind"] == "KeyError" and left["error"] == "KeyError: 'nothing'"
    text = (home / "bug" / "0" / "traceback.txt").read_text()
    assert "test_sweeps.py" in text and "Traceback" not in out + err


def priced(cfg: DictConfig, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """A run whose values are functions of what Optuna chooses, in no time."""
    if cfg.agent.gamma == 0.8:
        raise ValueError("this one fails")
    values = {
        "incremental_revenue_per_session": {"mean": 2.0 - cfg.order_bonus},
        "conversion_rate": {"mean": cfg.order_bonus / 100},
    }
    policies = {"dqn": {"learned": values}}
    summary = {"agent": "dqn", "policies": policies, "seconds": {}}
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


def test_optuna_is_told_the_objectives_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: the front of revenue and conversion is searched by what jobs return, run or skipped.
    # Each choice of order_bonus trades one for the other, so that all of them are on the front.
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    monkeypatch.setattr(train, "_whole", priced)
    asked = ["experiment=front", "hydra.sweeper.n_trials=6", *SMALL, *here(tmp_path), BASIC]
    fronts = []
    for _ in range(2):
        out, err = stopped(capsys, *asked)
        assert "ValueError: this one fails." in err and out.count(": was over") == 4 * len(fronts)
        found = OmegaConf.load(tmp_path / "sweep" / "optimization_results.yaml")
        fronts.append(OmegaConf.to_container(found)["solutions"])
    assert fronts[0] == fronts[1] and len(fronts[0]) == 4  # the seed draws gamma=0.8 twice
    for one in fronts[0]:
        bonus = one["params"]["order_bonus"]
        assert one["values"] == [pytest.approx(2.0 - bonus), pytest.approx(bonus / 100)]


def test_a_search_whose_trials_all_fail_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a wrong setting fails every trial of a search, and Optuna then raises where it looks for
    # the best of them; the sentences of the jobs are what a user can use.
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

    def failing(cfg: DictConfig, folder: Path, *, resume: bool = False) -> dict[str, Any]:
        raise UserError("this log is too short.")

    monkeypatch.setattr(train, "_whole", failing)
    # handlers of runs before hold a stream that its test has closed, and would tell of that
    monkeypatch.setattr(logging, "raiseExceptions", False)
    asked = ["experiment=tune", "hydra.sweeper.n_trials=2", *SMALL, *here(tmp_path), BASIC]
    out, err = stopped(capsys, *asked)
    assert err.count("error: ") == 1 and "error: no trial of the search came to a value" in err
    assert out.count("failed: this log is too short.") == 2 and "Traceback" not in out + err
    assert len(list((tmp_path / "sweep").glob("*/failed.json"))) == 2


def test_jobs_that_would_crowd_one_gpu_are_told_of() -> None:
    # Why: joblib counts cores, and a GPU out of memory fails jobs in the middle of a night.
    said = jobs.crowding({"n_jobs": -1}, "auto", 16, 1)
    assert said is not None and said.startswith("up to 16 jobs at once")
    assert "hydra.launcher.n_jobs=2" in said and jobs.crowding({"n_jobs": -3}, "cuda:0", 16, 4)
    assert jobs.crowding({"n_jobs": 4}, "auto", 16, 1) is None  # chosen
    assert jobs.crowding({"n_jobs": -1}, "cpu", 16, 1) is None
    assert jobs.crowding({"n_jobs": -1}, "auto", 16, 0) is None
    assert jobs.crowding({"cpus_per_task": 2}, "auto", 16, 1) is None  # a queue counts GPUs


def test_cores_are_shared_among_jobs_by_hand() -> None:
    # Why: torch takes every core in each of the jobs otherwise, and all of them crawl.
    assert jobs.threads({"n_jobs": -1}, 16) == 1
    assert jobs.threads({"n_jobs": 4}, 16) == 4
    assert jobs.threads({"n_jobs": 3}, 16) == 5
    assert jobs.threads({"n_jobs": -9}, 16) == 2  # joblib: all but eight, so eight jobs
    assert jobs.threads({"n_jobs": 32}, 16) == 1
    assert jobs.threads({"cpus_per_task": 6}, 16) == 6
    assert jobs.threads({"_target_": "basic"}, 16) is None


def test_a_job_returns_what_is_asked_for() -> None:
    # Why: a sweeper that tunes on another number finds another agent.
    row = {"revenue": {"mean": 2.5}, "rate": {"mean": 0.25}, "size": {"mean": None}}
    summary = {"agent": "a", "policies": {"a": {"learned": row}}}
    assert jobs.values_of(summary, None, "revenue") == 2.5
    assert jobs.values_of(summary, "rate", "revenue") == 0.25
    assert jobs.values_of(summary, ["rate", "size"], "revenue") == [0.25, None]
    for asked, said in (("rte", "objective=rte is unknown: expected one of rate"), ([], "a list")):
        with pytest.raises(UserError, match=said):
            jobs.check_objective(asked, ["rate"])


def test_only_what_decides_a_run_tells_two_apart(tmp_path: Path) -> None:
    # Why: a moved cache is no reason to train again, another discount is.
    kept = OmegaConf.create({"gamma": 1e-05, "cache_dir": "a", "num_threads": 1, "sweep": "???"})
    OmegaConf.save(kept, tmp_path / "config.yaml", resolve=True)
    assert jobs.changed(OmegaConf.merge(kept, {"cache_dir": "b", "sweep": "c"}), tmp_path) is None
    assert jobs.changed(OmegaConf.merge(kept, {"gamma": 0.5}), tmp_path) == "gamma"
    (tmp_path / "config.yaml").write_text("gamma: [0.5,")  # killed while it was written
    assert jobs.changed(kept, tmp_path) == "config.yaml"


def test_sweepers_choices_are_part_of_what_a_sweep_asks_for(tmp_path: Path) -> None:
    # Why: the params of an experiment number its jobs just as those of the command line do.
    asked = {"overrides": ["seed=0,1"], "sweeper": {"params": {"agent": "dqn"}}}
    sweeps.begin(tmp_path, asked)
    (tmp_path / "0").mkdir()
    sweeps.begin(tmp_path, {**asked, "sweeper": {}})  # nothing is over yet: it begins anew
    (tmp_path / "0" / "summary.json").write_text("{}")
    sweeps.begin(tmp_path, {**asked, "sweeper": {}})
    with pytest.raises(UserError, match="other settings"):
        sweeps.begin(tmp_path, asked)


@pytest.mark.parametrize(
    ("name", "executor"), [("slurm", "SlurmLauncher"), ("local_queue", "LocalLauncher")]
)
def test_every_launcher_of_the_cluster_composes(
    name: str, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: a key that the launcher does not know is refused here, and not after a night's queue.
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    launcher = composed(f"hydra/launcher={name}").hydra.launcher
    assert launcher._target_.endswith(executor)
    assert jobs.threads(launcher, 64) == launcher.cpus_per_task >= 1


def composed(*overrides: str) -> DictConfig:
    """The config of a job as Hydra gives it to the main."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS.glob("*.yaml")))
def test_every_ready_sweep_can_be_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: its last job may begin hours after the first, and must not fail for a misspelt setting.
    if name in ("tune", "front"):
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    config = composed(f"experiment={name}")
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.hydra.sweep.dir == f"outputs/sweeps/{name}"
    params = {key: str(value) for key, value in config.hydra.sweeper.params.items()}
    if name in ("tune", "front"):
        chosen = [[f"{key}={value.split('(')[-1].split(',')[0]}" for key, value in params.items()]]
    else:
        parsed = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in params.items()])
        (chosen,) = BasicSweeper.split_arguments(parsed, None)
        assert len(chosen) >= 2
    for job in chosen[-1:]:
        settings = composed(f"experiment={name}", *job)
        with open_dict(settings):
            del settings["hydra"]
        check(settings)
    text = (EXPERIMENTS / f"{name}.yaml").read_text()
    assert f"experiment={name}" in text and "2 cores" in text


def test_fit_is_no_part_of_what_a_sweep_repeats() -> None:
    # Why: pages of every size must share one log, or each would be fitted anew.
    sizes = [composed("experiment=slate_size", f"num_slots={size}") for size in (3, 10)]
    assert sizes[0].log == sizes[1].log and sizes[0].user_model == sizes[1].user_model
