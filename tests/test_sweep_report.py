"""experiments.report: a sweep's folder becomes three answers, a table, CSV and one page."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sweep_probe
from tiny import call

from experiments.report import main, named, report
from experiments.reporting import figures, wording
from experiments.reporting.contents import all_findings, crn_line
from experiments.reporting.findings import Findings
from experiments.reporting.runs import read_sweep
from recgym.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = sweep_probe.sweep(tmp_path_factory.mktemp("report") / "sweep, of two")
    call(main, str(place), f"hydra.run.dir={place.parent / 'h'}")
    return place


@pytest.fixture(scope="module")
def every(folder: Path) -> list[Findings]:
    return all_findings(read_sweep(folder))


def test_each_shop_is_an_arena_of_candidates_over_seeds(every: list[Findings]) -> None:
    # Why: a policy of one shop is not better than one of another because its shoppers are richer.
    assert [found.arena.title for found in every] == ["world=default", "world=wild"]
    for found in every:
        names = {one.name: one for one in found.arena.candidates}
        assert set(names) == set(sweep_probe.LIFTS)
        assert len(names["dqn"].seeds) == len(names["ppo"].seeds) == 3
        assert len(names["popular"].seeds) == 1  # played by six runs, and the same in each
        assert found.arena.paired and found.arena.deciding == "true"


def test_the_answers_are_those_that_were_put_in(every: list[Findings]) -> None:
    # Why: by hand, dqn adds 1 a session to each shopper's expectation, and 2 % of conversion.
    found = every[0]
    assert [one.name for one in found.standings] == [
        "oracle", "dqn", "ppo", "popular", "logging", "nothing",
    ]  # fmt: skip
    best = found.winner
    assert best.name == "dqn" and found.clear and best.best is not None and best.best > 0.99
    assert best.lift.mean == pytest.approx(1.0, abs=1e-4)
    assert best.lift.low < 1.0 < best.lift.high
    assert found.pairs["dqn", "ppo"].difference.mean == pytest.approx(0.4, abs=1e-4)
    nothing = found.standing("nothing")
    assert nothing is not None
    assert (nothing.lift.low, nothing.lift.mean, nothing.lift.high) == (0.0, 0.0, 0.0)
    said = wording.answers(found)
    assert said.which == "dqn" and said.earn == "+1.000 a session"
    assert "hidden from every agent" in said.earn_more
    assert "+100,000 currency units [" in said.earn_more
    assert "beats the runner-up, ppo, with a probability of >99.9 %" in said.sure_more


def test_common_random_numbers_halve_the_variance(every: list[Findings]) -> None:
    # Why: by hand: willingness has a variance of 9 and each policy's own noise one of 4, so that
    # two trained policies differ by 8 of 26, and one differs from nothing by 4 of 22.
    ratios = {name: one.ratio for name, one in every[0].trials.items()}
    assert ratios["nothing"] == pytest.approx(4 / 22, rel=0.15)
    assert all(ratio is not None and ratio <= 0.5 for ratio in ratios.values())
    assert "goal: at most 0.5" in crn_line(every[0])


def test_the_oracle_is_no_candidate(every: list[Findings]) -> None:
    # Why: nobody can deploy what sees the truth; it would be the best of every sweep.
    assert "oracle" not in {name for pair in every[0].pairs for name in pair}


def test_the_files_say_the_same(folder: Path, every: list[Findings]) -> None:
    # Why: the page is shown, the table is pasted and the CSV is computed with.
    rows = list(csv.DictReader((folder / "report.csv").open()))
    lift = [r for r in rows if (r["policy"], r["metric"], r["kind"]) == ("dqn", "lift", "value")]
    assert {r["shop"] for r in lift} == {"true", "learned"} and len(lift) == 4
    assert float(lift[0]["mean"]) == every[0].winner.lift.mean
    own = [r for r in rows if r["kind"] == "difference" and r["policy"] == r["other"]]
    assert own and all(float(r["mean"]) == 0.0 == float(r["high"]) for r in own)
    text = (folder / "report.md").read_text()
    assert text.index("## The answers") < text.index("## Ranking (world=default)")
    assert "| **dqn** | **agent** | **3** |" in text
    assert "Of 14 jobs, 1 failed and 1 did not finish" in text
    assert "| 12 | failed | agent=dqn, steps=0 | steps=0: expected a whole number. |" in text
    assert "| 13 | unfinished | - | it has neither a summary nor an error" in text
    assert not list(folder.glob(".*"))


class Elements(HTMLParser):
    """Ids of figures, and all that could be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "figure":
            self.figures.append(str(given["id"]))
        names = {"script", "img", "iframe", "link", "object"}
        self.loaded += [str(given.get("href") or given.get("src"))] if tag in names else []


def test_the_page_stands_alone(folder: Path) -> None:
    # Why: it is sent by mail and opened from a file.
    text = (folder / "report.html").read_text()
    found = Elements()
    found.feed(text)
    assert not found.loaded and "http" not in re.sub(r"http-equiv", "", text)
    assert len(set(found.figures)) == len(found.figures)
    kinds = {name.partition("-")[2] for name in found.figures}
    assert kinds == {"heat", "ranking", "conversion", "pareto", "curve-reward",
                     "curve-orders-per-page"}  # fmt: skip
    assert "prefers-color-scheme: dark" in text and "url(" not in text


def test_a_report_comes_out_the_same_again(folder: Path) -> None:
    # Why: a sweep that was killed and begun again must end with the same report.
    before = [(folder / f"report.{end}").read_bytes() for end in ("md", "csv", "html")]
    report(folder)
    assert [(folder / f"report.{end}").read_bytes() for end in ("md", "csv", "html")] == before


def test_without_shoppers_the_report_says_that_pairs_are_missing(tmp_path: Path) -> None:
    # Why: runs of earlier versions left summaries alone.
    for seed in range(2):
        sweep_probe.run(tmp_path / str(seed), "dqn", seed, kept=seed == 0, true=False)
    (found,) = report(tmp_path)
    assert not found.arena.paired and found.arena.deciding == "learned" and not found.trials
    text = (tmp_path / "report.md").read_text()
    assert "Pairs are missing" in text and "an A/B test can confirm" in text
    assert found.winner.name == "dqn"
    assert found.winner.lift.mean == pytest.approx(1.0, abs=1e-4)


def test_what_cannot_be_told_apart_is_not_called_best(tmp_path: Path) -> None:
    # Why: a name on a slide is taken for a decision.
    for number, agent in enumerate(("dqn", "ppo")):
        for seed in range(2):
            sweep_probe.run(tmp_path / f"{number}{seed}", agent, seed, lift=0.9)
    (found,) = report(tmp_path)
    assert not found.clear
    assert "cannot be told from it" in wording.answers(found).verdict
    assert "By the learned shop alone" not in wording.answers(found).verdict
    other = tmp_path / "none"
    sweep_probe.run(other, "dqn", lift=-1.0)
    (found,) = report(other)
    assert found.winner.name == "popular"  # which lifts by 0.3


def test_a_choice_that_the_learned_shop_would_not_make_is_told(tmp_path: Path) -> None:
    # Why: outside a development shop that choice is all that one has; popular lifts by 0.3.
    sweep_probe.run(tmp_path / "run", "dqn", lift=0.9, claim=0.1)
    (found,) = report(tmp_path / "run")
    said = wording.answers(found)
    assert said.which == "dqn"
    assert said.verdict.endswith("By the learned shop alone it would have been popular.")
    assert "The learned shop claims +0.100" in said.earn_more


def test_a_sweep_of_ads_weighs_earnings_against_the_ad_load(tmp_path: Path) -> None:
    # Why: by hand: ad_ppo earns 0.3 more than no ads at a load of 20 %, ad_dqn 0.2 more at 5 %, so
    # that neither dominates; ad_linucb earns less than ad_dqn at a higher load.
    # Campaigns pay the load, and tire by as much: no policy has more of both than another, but
    # ad_linucb, which tires by thrice its load. By hand, above -0.3: 0.25 x 0.05 + 0.1 x 0.15.
    for agent, load, earned, tires in (
        ("ad_dqn", 0.05, 0.7, 1.0),
        ("ad_ppo", 0.2, 0.8, 1.0),
        ("ad_linucb", 0.1, 0.6, 3.0),
    ):
        sweep_probe.ad_run(tmp_path / agent, agent, load, earned, tires)
    (found,) = report(tmp_path)
    assert found.winner.name == "ad_ppo" and found.arena.nothing == "ad_none"
    assert found.winner.lift.mean == pytest.approx(0.3, abs=1e-5)
    assert found.winner.values["load"].mean == pytest.approx(0.2)
    assert found.winner.values["ad_revenue"].mean == pytest.approx(0.2)
    drawn = {one.name: one for one in figures.pareto(found)}
    assert set(drawn) == {"pareto", "pareto-load", "pareto-satisfaction"}
    note = drawn["pareto-satisfaction"].note
    assert "ad revenue and satisfaction at once (ad_ppo, ad_dqn, ad_none)" in note
    assert "satisfaction of -0.3: 0.0275." in note
    assert "at once (ad_ppo, ad_dqn, ad_none)" in drawn["pareto-load"].note
    text = (tmp_path / "report.md").read_text()
    assert "+0.300 a shopper" in text and "| ad load |" in text


def test_where_shoppers_come_back_money_is_counted_by_the_shopper(tmp_path: Path) -> None:
    # Why: by hand, each session is worth 2, so that by the session no policy earns anything above
    # another; dqn brings 50 % back and nothing 10 %, which is worth 0.8 a shopper.
    sweep_probe.returning_run(tmp_path / "dqn", "dqn", 0.5)
    sweep_probe.returning_run(tmp_path / "ppo", "ppo", 0.4)
    (found,) = report(tmp_path)
    assert found.winner.name == "dqn" and found.arena.unit == "shopper"
    assert found.winner.lift.mean == pytest.approx(0.8)
    assert found.winner.values["money"].mean == pytest.approx(3.0)
    assert found.winner.values["sessions"].mean == pytest.approx(1.5)
    assert found.winner.values["conversion"].mean == pytest.approx(1.0 / 1.5)
    text = (tmp_path / "report.md").read_text()
    assert "+0.800 a shopper" in text and "| sessions/shopper |" in text
    assert "revenue_per_shopper" in (tmp_path / "report.csv").read_text()
    assert "a session" not in text.partition("## Jobs that are over")[0].partition("## Ranking")[0]


def test_runs_that_kept_no_satisfaction_are_still_compared(tmp_path: Path) -> None:
    # Why: a folder of earlier runs, one of them made anew, must not end in a KeyError or in a
    # satisfaction of 1.
    sweep_probe.ad_run(tmp_path / "old", "ad_dqn", 0.05, 0.7, None)
    sweep_probe.ad_run(tmp_path / "new", "ad_ppo", 0.2, 0.8, 1.0)
    (found,) = all_findings(read_sweep(tmp_path))
    assert "satisfaction" not in found.winner.values
    assert len(figures.pareto(found)) == 2


def test_alarms_and_assumptions_stand_beside_the_numbers(tmp_path: Path) -> None:
    # Why: a lift in a shop that was assumed, or that the agent exploited, reads as knowledge.
    sweep_probe.run(tmp_path / "run", "dqn", true=False)
    path = tmp_path / "run" / "summary.json"
    summary = json.loads(path.read_text())
    summary["cross_scored"] = {"alarm": True, "reliable": False, "best": "popular"}
    summary["user_model"]["assumptions"] = {"sentence": "rho 0.3 of showing."}
    check = summary["user_model"]["on_policy"]["revenue_per_session"]
    check |= {"error": 0.4, "noise_floor": 0.3}
    for row in summary["policies"].values():
        lift = row["learned"]["incremental_revenue_per_session"]
        lift["range"] = {"worst": lift["mean"] - 0.75, "best": lift["mean"] + 0.25}
    path.write_text(json.dumps(summary))
    report(tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text()
    answers = text[: text.index("## Ranking")]
    assert "Warning: Exploitation alarm: the claim of dqn (run run)" in answers
    assert "Warning: No reliable lift in run run: the best policy, popular" in answers
    assert "learned shop's revenue is +40% off the held-out log" in answers
    assert "Over the assumptions of what showing does it is +0.250 to +1.250 a session" in answers
    assert "so it is assumed: rho 0.3 of showing." in text and "| over assumptions |" in text


def test_a_single_run_has_a_report(tmp_path: Path) -> None:
    # Why: the questions are the same; that one seed says nothing of seeds is told.
    sweep_probe.run(tmp_path / "run", "dqn", curve=False)
    (found,) = report(tmp_path / "run")
    assert "dqn: one training seed" in (tmp_path / "run" / "report.md").read_text()
    assert wording.based_on(found).startswith("1 training seed, 2,000 shoppers")


@pytest.mark.parametrize("asked", [[], ["sweep=nowhere"], ["nowhere"]])
def test_a_folder_without_runs_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, *asked, f"hydra.run.dir={tmp_path / 'h'}")
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert ("sweep is missing" in said) if not asked else ("holds no run that is over" in said)


def test_a_sweep_of_failures_says_why_the_first_failed(tmp_path: Path) -> None:
    sweep_probe.failed(tmp_path / "0", "steps=0: expected a whole number.", ["steps=0"])
    with pytest.raises(SystemExit):
        call(main, str(tmp_path), f"hydra.run.dir={tmp_path / 'h'}")


@pytest.mark.parametrize(
    ("file", "text"),
    [("summary.json", "{}"), ("config.yaml", "a: ["), (".hydra/overrides.yaml", "- [")],
)
def test_a_damaged_job_is_named_in_a_sentence(tmp_path: Path, file: str, text: str) -> None:
    # Why: one file that a full disk cut must not hide which of a hundred jobs it is.
    sweep_probe.run(tmp_path / "run", "dqn", curve=False, kept=False)
    (tmp_path / "run" / file).write_text(text)
    with pytest.raises(
        UserError, match=r"run cannot be read .*: expected summary\.json and"
    ) as said:
        read_sweep(tmp_path)
    assert len(str(said.value).splitlines()) == 1


def test_a_folder_may_be_named_by_its_place() -> None:
    # Why: the README's own form; Hydra alone would take it for a broken setting.
    assert named("outputs/a, b's") == "sweep='outputs/a, b\\'s'"
    assert named("sweep=x") == "sweep=x" and named("--help") == "--help"


def test_words_for_numbers() -> None:
    assert wording.money(1234.5) == "+1,234" and wording.money(-0.0001) == "0.000"
    assert wording.share(1.0) == ">99.9 %" and wording.share(0.5) == "50 %"
    assert wording.count(67_349_541.4) == "67,000,000" and wording.count(None) == "no difference"
    assert wording.count(62.8) == "63"
