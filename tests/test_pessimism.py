"""experiments.pessimism: a sweep's jobs as a table and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import call

from experiments.pessimism import jobs_of, main, table


def estimate(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def job(folder: Path, pessimism: float, claimed: float, true: float | None) -> None:
    def row(value: float) -> dict[str, Any]:
        lift = estimate(value)
        return {"incremental_revenue_per_session": lift, "coverage": {"mean": 0.25}}

    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"pessimism: {pessimism}\nseed: 0\n")
    shops = {"learned": row(claimed), "scored": row(claimed - 0.1), "true": true and row(true)}
    summary = {"agent": "dqn", "policies": {"dqn": shops}, "cross_scored": {"alarm": claimed > 1}}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_a_sweep_becomes_a_table_and_a_plot(tmp_path: Path) -> None:
    job(tmp_path / "1", 2.0, 0.8, 0.7)
    job(tmp_path / "0", 0.0, 1.1, 0.7)
    (tmp_path / "2").mkdir()  # a job that is not finished
    call(main, f"sweep={tmp_path}", f"hydra.run.dir={tmp_path / 'h'}")
    rows = json.loads((tmp_path / "pessimism.json").read_text())["jobs"]
    assert [row["pessimism"] for row in rows] == [0.0, 2.0]
    assert "| 0 | 0 | +1.10 [+1.00, +1.20] | +1.00 [+0.90, +1.10] | +0.70 [" in table(rows)
    assert table(rows).splitlines()[2].endswith("| 25% | yes |")
    assert (tmp_path / "pessimism.png").stat().st_size > 1000


def test_a_log_from_elsewhere_has_no_true_column(tmp_path: Path) -> None:
    job(tmp_path / "0", 0.5, 0.9, None)
    assert "| +0.80 [+0.70, +0.90] | - | 25% | no |" in table(jobs_of(tmp_path))
    call(main, f"sweep={tmp_path}", f"hydra.run.dir={tmp_path / 'h'}")


@pytest.mark.parametrize("asked", ["sweep=null", "sweep=nowhere"])
def test_a_folder_without_jobs_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, asked, f"hydra.run.dir={tmp_path / 'h'}")
    assert ended.value.code == 1
    assert "user_model.ensemble.members=4" in capsys.readouterr().err
