"""agents.train where shoppers come back: several sessions of each, as a user would run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_train import summary_of
from tiny import TRAIN, WORLD, below, call

from agents import evaluate, ope, train
from agents.shoppers import Columns, read_shoppers
from recgym.metrics import OF_SHOPPERS, kendall_tau
from recgym.replay import __main__ as replay

pytestmark = pytest.mark.slow
MOST = 3
LOYAL = ["world=loyal", *WORLD, "log.max_sessions=6", f"env.num_sessions={MOST}"]
REVENUE, LIFT = OF_SHOPPERS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sessions")
    call(train.main, *TRAIN, *LOYAL, "reward=revenue", *below(home))
    return home / "run"


def kept(run: Path, shop: str, policy: str) -> Columns:
    shoppers = read_shoppers(run)
    assert shoppers is not None
    columns = shoppers.columns(shop, policy)
    assert columns is not None
    return columns


def test_money_is_that_of_a_shopper(run: Path) -> None:
    # Why: a policy that brings shoppers back earns by sessions that the mean of one does not count.
    summary = summary_of(run)
    assert summary["num_sessions"] == MOST
    for shop in ("learned", "true"):
        nothing = kept(run, shop, "nothing")
        for name in ("greedy", "dqn", "popular"):
            row, columns = summary["policies"][name][shop], kept(run, shop, name)
            assert 1 == columns["sessions"].min() < columns["sessions"].max() <= MOST
            assert row["sessions_per_shopper"]["mean"] == pytest.approx(columns["sessions"].mean())
            money, gain = (columns["credited_revenue"], nothing["credited_revenue"])
            assert row[REVENUE]["mean"] == pytest.approx(money.mean(), rel=1e-5)
            assert row[LIFT]["mean"] == pytest.approx((money - gain).mean(), abs=1e-4)
            per_session = money.sum() / columns["sessions"].sum()
            assert row["revenue_per_session"]["mean"] == pytest.approx(per_session, rel=1e-5)
            assert "incremental_revenue_per_session" not in row
    assert kept(run, "true", "oracle")["sessions"].max() > 1  # it plays as many


def test_the_verdict_is_by_money_of_a_shopper(run: Path) -> None:
    # Why: by hand from the table, so that no part of it is of a session.
    summary = summary_of(run)
    policies = summary["policies"]

    def lifts(shop: str) -> list[float]:
        names = [name for name in policies if name != "oracle"]
        return [policies[name][shop][LIFT]["mean"] for name in names]

    learned, true = lifts("learned"), lifts("true")
    assert summary["kendall_tau"] == pytest.approx(kendall_tau(learned, true))
    claimed, earned = (policies["dqn"][shop][REVENUE]["mean"] for shop in ("learned", "true"))
    assert summary["exploitation_gap_revenue"] == pytest.approx(claimed / earned - 1.0)
    oracle, logging = (policies[name]["true"][REVENUE]["mean"] for name in ("oracle", "logging"))
    assert summary["headroom"] == pytest.approx(oracle / logging - 1.0)
    pair = summary["differences"]["true"]["dqn"]["popular"]
    assert set(pair) == {"conversion_rate", REVENUE, LIFT}
    head = (run / "table.txt").read_text().splitlines()[0]
    assert "true: sessions/shopper" in head and "learned: revenue/shopper" in head


def test_a_run_is_valued_anew_over_as_many_sessions(run: Path) -> None:
    # Why: the agent's observations are those of several sessions, and no other number fits them.
    call(evaluate.main, f"run={run}", "sessions=60", "seed=0", f"hydra.run.dir={run / 'again'}")
    found = json.loads((run / "evaluation-seed0-sessions60.json").read_text())
    assert found["policies"] == summary_of(run)["policies"]


def test_a_session_of_a_shopper_is_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Why: the trained agent reads what is left of the episode there too.
    call(replay.main, f"run={run}", "shopper=1", "shop=true", f"hydra.run.dir={run / 'replay'}")
    assert "dqn" in capsys.readouterr().out


def test_the_log_says_nothing_of_policies_over_several_sessions(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: its held-out sessions are read one by one, without those before.
    with pytest.raises(SystemExit):
        call(ope.main, f"run={run}", f"hydra.run.dir={run / 'ope'}")
    assert "up to 3 sessions a shopper" in capsys.readouterr().err


BAD: list[tuple[list[str], tuple[str, ...]]] = [
    (["env.num_sessions=0"], ("env.num_sessions=0", "at least 1")),
    (["env.num_sessions=5"], ("env.num_sessions=5", "world=loyal", "log.max_sessions=5")),
    (["world=loyal", "env.num_sessions=5"], ("nobody comes back", "log.max_sessions=5")),
    ([*LOYAL, "agent=cql"], ("agent=cql", "env.num_sessions=1")),
    ([*LOYAL, "user_model.ensemble.members=4"], ("4 members", "env.num_sessions=1")),
    ([*LOYAL, "objective=incremental_revenue_per_session"], ("objective", LIFT)),
]


@pytest.mark.parametrize(("asked", "named"), BAD, ids=[asked[-1] for asked, _ in BAD])
def test_what_cannot_be_played_so_ends_in_a_sentence(
    asked: list[str], named: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: before the log and the fit, which take minutes.
    with pytest.raises(SystemExit) as stopped:
        call(train.main, *asked, *below(tmp_path))
    assert stopped.value.code == 1 and not (tmp_path / "cache").exists()
    error: Any = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Traceback" not in error
    assert all(part in error for part in named), error
