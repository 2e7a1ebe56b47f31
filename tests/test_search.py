"""python -m recgym.fit -m search=...: Optuna tunes a fit by held-out likelihood, and goes on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tiny import SHORT, below, call

from recgym import fit
from recgym.errors import UserError

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")

TINY = [
    "search=user_model",
    "hydra.sweeper.n_trials=2",
    "log.num_sessions=80",
    "world.num_items=20",
    SHORT,
    "user_model.fit.epochs=1",
    "user_model.fit.least_updates=2",
    "user_model.on_policy.sessions=10",
    "user_model.on_policy.true_sessions=10",
    "num_slots=2",
    "device=cpu",
    "num_threads=1",
]


def found_in(home: Path) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(OmegaConf.load(home / "run" / "optimization_results.yaml"))
    return dict(found)


def test_a_search_finds_the_fit_of_least_held_out_likelihood_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: a search of hours ends with the settings to use, and the same command after a kill must
    # come to the same without a fit anew.
    call(fit.main, "-m", *TINY, *below(tmp_path))
    reports = [
        json.loads((tmp_path / "run" / str(job) / "fit.json").read_text())["user_model"]
        for job in range(2)
    ]
    values = [report["valid_nll"] for report in reports]
    best = found_in(tmp_path)
    assert best["best_value"] == min(values) < max(values)
    chosen = OmegaConf.load(tmp_path / "run" / str(values.index(min(values))) / "config.yaml")
    for name, value in best["best_params"].items():
        assert OmegaConf.select(chosen, name) == value
    assert len(best["best_params"]) == 6
    capsys.readouterr()
    call(fit.main, "-m", *TINY, *below(tmp_path))
    assert capsys.readouterr().out.count("user model: reused") == 2
    assert found_in(tmp_path) == best


def test_a_search_of_which_every_fit_fails_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: Optuna has no best trial then, and says so by a traceback. One that fails alone is a
    # trial without a value.
    failing = {0, 1}

    def whole(cfg: Any) -> float:
        number = fit.HydraConfig.get().job.num
        if number in failing:
            raise UserError(f"fit {number} is bad: expected a better one.")
        return 2.5

    monkeypatch.setattr(fit, "_whole", whole)
    # handlers of runs before hold a stream that its test has closed, and would tell of that
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with pytest.raises(SystemExit) as code:
        call(fit.main, "-m", *TINY, *below(tmp_path))
    out, err = capsys.readouterr()
    assert code.value.code == 1 and "job 1 failed: fit 1 is bad" in out
    assert err.splitlines()[-1].startswith("error: no trial of the search came to a value")
    assert "best_trial" not in out + err  # the line that Optuna's traceback ends in
    failing.remove(1)
    call(fit.main, "-m", *TINY, *below(tmp_path))
    assert found_in(tmp_path)["best_value"] == 2.5
