"""recgym.replay: what is shown of a session is what the simulator and the user model say."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from probe_shop import ADDED, CLICK, KEPT, ProbeShop, learned_shop
from rich.console import Console
from tiny import FIT, WORLD, call, compose

from agents import valuing
from agents.baselines import Greedy
from agents.folders import keep
from agents.foreign import foreign_policy
from recgym import choice
from recgym.build import build
from recgym.errors import UserError
from recgym.explain.deletion import Explanation
from recgym.logging_policy import EmptyPages
from recgym.replay import wording
from recgym.replay.__main__ import main
from recgym.replay.explaining import Explained, explained
from recgym.replay.opening import Opened
from recgym.replay.page import page
from recgym.replay.playing import Recommending, play
from recgym.replay.steps import Session
from recgym.replay.text import needed, pair_text, session_text
from recgym.rollout import rollout
from recgym.runs import CONFIG
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.log import prepare_log
from recgym.types import Kind, Observation, Sessions, Split
from recgym.users.likelihood import cart_counts, gather_steps, log_prob
from recgym.users.store import save_model

DOUBLE = torch.float64
MODEL = learned_shop(DOUBLE).requires_grad_(False)
SPEC = ObservationSpec(Simulator(MODEL, encoder=MODEL, num_slots=3, dtype=DOUBLE), "encoder")
GREEDY = Greedy(MODEL, num_slots=3, cart_paid=0.3)
PLAYED = partial(Recommending, SPEC)
SEED = 45  # of a lane whose session has eight pages


def played(policy: Any = GREEDY, name: str = "greedy", seed: int = SEED) -> Session:
    return play(Recommending(SPEC, policy), seed, names=(name, "learned", 3))


SESSION = played()


class Third:
    """Item 3 alone."""

    def act(self, observation: Observation, *, explore: bool = False) -> torch.Tensor:
        return torch.full((len(observation.feature), 1), 3)


# ---- the numbers --------------------------------------------------------------------------------


def test_the_session_is_the_simulators_event_by_event() -> None:
    # Why: what is shown is what a roll-out of the same shopper counts.
    seen: list[Any] = []
    seed = torch.tensor([SEED])
    stats = rollout(SPEC, GREEDY, seed, seed * 0, on_step=lambda *step: seen.append(step))
    assert len(seen) == len(SESSION.steps) == 8 and SESSION.over
    assert SESSION.revenue == pytest.approx(float(stats.revenue)) and SESSION.revenue > 0
    for (_, state, _, outcome), step in zip(seen, SESSION.steps, strict=True):
        event = outcome.event
        assert (step.kind, step.slot, step.after) == (event.kind, event.slot, event.after)
        assert (step.viewed.item if step.viewed else -1) == int(event.item)
        assert [item.item for item in step.slots if item] == outcome.page.item[0].tolist()
        assert [item.price for item in step.slots if item] == outcome.page.price[0].tolist()
        assert step.revenue == float(outcome.revenue) and step.gap == float(event.gap)
        assert step.time_ms == int(state.visit.time_ms)


def test_the_drawn_chances_are_those_that_the_simulator_drew_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Why: the answer to "why" is the law of that very draw, its kind of shopper included.
    laws: list[choice.Law] = []
    whole = choice.law

    def recorded(*given: Any) -> choice.Law:
        laws.append(whole(*given))
        return laws[-1]

    quiet = Simulator(MODEL, num_slots=3, expected_revenue=False, dtype=DOUBLE)
    state = quiet.reset(torch.tensor([SEED]), torch.tensor([0]))
    for step in SESSION.steps:
        item_NK = torch.tensor([[item.item if item else -1 for item in step.slots]])
        laws.clear()
        with monkeypatch.context() as patch:
            patch.setattr(choice, "law", recorded)
            state, _ = quiet.step(state, quiet.page(state, item_NK))
        drawn = choice.probabilities(laws[0])  # later ones are those of what the state expects
        assert step.drawn.leave == pytest.approx(float(drawn.leave), abs=1e-12)
        assert step.drawn.checkout == pytest.approx(float(drawn.checkout), abs=1e-12)
        shown = [item.drawn for item in step.slots if item]
        assert shown == pytest.approx(drawn.slot[0].tolist(), abs=1e-12)


def test_what_happened_multiplies_to_the_models_likelihood() -> None:
    # Why: the chances shown are the user model's, factor by factor, and none is left out.
    moments = SESSION.history.moments

    def joined(records: list[Any]) -> Any:
        whole = {name: torch.cat([vars(r)[name] for r in records]) for name in records[0].packed()}
        return dataclasses.replace(records[0], **whole)

    sessions = Sessions(
        event=joined([moment.event for moment in moments]),
        page=joined([moment.page for moment in moments]),
        time_ms=torch.cat([moment.visit.time_ms for moment in moments]),
        offset=torch.tensor([0, len(moments)]),
        shopper=torch.tensor([0]),
        profile=SESSION.history.arrival.profile,
        split=torch.tensor([int(Split.TEST)]),
    )
    steps = gather_steps(sessions, cart_counts(sessions), torch.tensor([0]))
    found = log_prob(MODEL, steps)
    for name in ("choice", "after", "gap"):
        ours = [getattr(step.log_prob, name) for step in SESSION.steps]
        assert ours == pytest.approx(getattr(found, name).tolist(), abs=1e-8), name
    assert SESSION.log_prob.total == pytest.approx(float(found.total().sum()), abs=1e-7)


def test_chances_add_up_and_hold_what_happened() -> None:
    # Why: leave, pay, page and alone are all that can be done; a click's chance is its row's.
    for step in SESSION.steps:
        for found in (step.chances, step.drawn):
            whole = found.leave + found.checkout + found.page + found.alone
            assert whole == pytest.approx(1.0)
        assert step.chances.page == pytest.approx(
            sum(item.chance or 0.0 for item in step.slots if item)
        )
        if step.kind == Kind.VIEW:
            rows = step.slots if step.slot >= 0 else step.finds
            chosen = [x for x in rows if x and step.viewed and x.item == step.viewed.item]
            assert math.log(chosen[0].chance or 0.0) == pytest.approx(step.log_prob.choice)
            assert sum(step.follows) == pytest.approx(1.0)
            assert math.log(step.follows[step.after]) == pytest.approx(step.log_prob.after)


def test_a_page_of_the_probe_shop_by_hand() -> None:
    # Why: item 3 alone at 40: clicked with CLICK, found alone with what its twin keeps, sold as
    # 10 / (10 + 40), else carted as often, else a favourite every other time.
    spec = ObservationSpec(Simulator(ProbeShop(dtype=DOUBLE), num_slots=1, dtype=DOUBLE), "history")
    names = ("third", "true", 0)
    turns = Recommending(spec, Third())
    sessions = [play(turns, seed, names=names, max_pages=1) for seed in range(60)]
    clicked = [s.steps[0] for s in sessions if s.steps[0].slot == 0]
    step = next(step for step in clicked if step.viewed and step.viewed.price == 40.0)  # on day 0
    item = step.slots[0]
    assert item is not None and step.chances.leave == 0.0 and step.chances.checkout == 0.0
    assert step.follows == pytest.approx((0.32, 0.32, 0.16, 0.2))
    assert item.chance == item.drawn == pytest.approx(CLICK, abs=1e-6)
    assert step.finds[0].chance == pytest.approx(0.4 / (1.0 + ADDED), abs=1e-6)
    assert step.chances.alone == pytest.approx((0.9 + 0.1 * KEPT) / (1.0 + ADDED), abs=1e-6)
    assert not sessions[0].kinds and SESSION.kinds
    assert not sessions[0].over and "cut off there" in wording.closing(sessions[0])


def test_scores_are_the_policys_own_and_the_best_is_shown() -> None:
    # Why: "what the policy scored" is what it acted by; a policy that says none leaves it open.
    for step in SESSION.steps:
        shown = [item.score for item in step.slots if item and item.score is not None]
        assert len(shown) == 3 and shown == sorted(shown, reverse=True)
        beyond = [item.score for item in step.unshown if item.score is not None]
        assert len(beyond) == 3 and beyond[0] <= shown[-1]
        assert {x.item for x in step.unshown}.isdisjoint(x.item for x in step.slots if x)
    empty = played(EmptyPages(3), "nothing").steps[0]
    assert empty.slots == (None, None, None) and empty.unshown == ()


# ---- two policies -------------------------------------------------------------------------------


def test_a_policy_against_itself_is_identical_in_all_numbers() -> None:
    # Why: with the same noise the difference of a policy to itself is exactly 0.
    again = played()
    assert again == SESSION and again.steps == SESSION.steps
    assert wording.compared(SESSION, again) == "Identical in all numbers of all 8 pages."


def test_another_policy_meets_the_same_shopper_with_the_same_noise() -> None:
    # Why: what differs between the two columns is then the policies' doing.
    other = played(EmptyPages(3), "nothing")
    assert other.start_ms == SESSION.start_ms and other.seed == SESSION.seed
    assert other.history.arrival.profile.equal(SESSION.history.arrival.profile)
    said = wording.compared(SESSION, other)
    assert re.match(r"The shopper does something else from page \d on; revenue differs", said)


# ---- what is read -------------------------------------------------------------------------------


def text_of(renderable: Any, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_the_terminal_shows_every_number_of_a_page() -> None:
    # Why: a column cut off by a narrow table is a number that nobody sees.
    shown = text_of(session_text(SESSION), 100)
    assert "…" not in shown and shown.count("Page ") == 8
    for step in SESSION.steps:
        for item in (*step.slots, *step.unshown):
            assert item is not None and f"{item.price:.2f}" in shown
            assert wording.score(item.score) in shown and wording.share(item.chance) in shown
        assert wording.happened(step) in shown


def test_two_sessions_stand_side_by_side_or_in_turns() -> None:
    # Why: a narrow terminal must not cut a column away.
    other = played(EmptyPages(3), "nothing")
    for width in (needed(False), 80):
        shown = text_of(pair_text(SESSION, other, width=width), width)
        assert "…" not in shown
        beside = [line for line in shown.splitlines() if line.count("Page 1,") == 2]
        assert len(beside) == (1 if width == needed(False) else 0)


def test_the_page_needs_nothing_else_and_escapes_what_it_is_given() -> None:
    # Why: it opens from a file, without a network, in light and dark.
    other = dataclasses.replace(played(EmptyPages(3), "nothing"), policy="a<b>")
    found = Explanation("occlusion", (0.5, -0.25), -1.0, (), 0.0, 0.0)
    why = Explained("greedy", 3, "leaving", ["found 1", "x<y"], [found])
    made = page([SESSION, other], [why], "assumed <so>")
    assert not re.search(r"https?:|<script|src=|url\(|@import", made)
    assert "prefers-color-scheme: dark" in made
    assert "a<b>" not in made and "a&lt;b&gt;" in made and "x&lt;y" in made
    assert made.count('<div class="step') - made.count('<div class="steps') == 2 * max(
        len(SESSION.steps), len(other.steps)
    )
    for step in SESSION.steps:
        assert wording.chances(step.chances) in made and wording.happened(step) in made


# ---- what is wrong ------------------------------------------------------------------------------


def opened(**changed: Any) -> Opened:
    known = Opened(
        folder=Path("run"), agent="greedy", model=MODEL, shops={"learned": PLAYED},
        policies={"greedy": GREEDY, "nothing": EmptyPages(3)}, foreign=foreign_policy,
        only_true={"oracle": PLAYED(GREEDY)}, sessions=50, first_seed=1000, assumed=None,
    )  # fmt: skip
    return dataclasses.replace(known, **changed)


def test_shoppers_are_those_of_the_evaluation() -> None:
    # Why: shopper N is row N of what the summary averages.
    assert opened().seed_of(0) == 1000 and opened().seed_of(49) == 1049
    for wrong in (50, -1, 1.5, True, "x"):
        with pytest.raises(UserError, match=rf"shopper={wrong}: .*from 0 to 49"):
            opened().seed_of(wrong)  # type: ignore[arg-type]


def test_the_session_is_that_of_the_evaluations_row() -> None:
    # Why: who looks for the shopper behind a number of the evaluation must find that very session.
    stats = valuing.play(SPEC, GREEDY, 3, 3, torch.device("cpu")).stats
    run = opened(first_seed=valuing.SEED_BASE + (3 << 32))
    for shopper in range(3):
        session = played(seed=run.seed_of(shopper))
        assert session.revenue == pytest.approx(float(stats.revenue[shopper]))
        assert len(session.steps) == int(stats.pages[shopper])
    assert stats.pages.tolist() == [2, 6, 3]


def test_what_a_run_does_not_hold_is_said_in_a_sentence() -> None:
    # Why: names are typed by hand.
    run = opened()
    with pytest.raises(UserError, match="policy best is none of run=run: expected one of greedy, "):
        run.find("learned", "best")
    with pytest.raises(UserError, match=r"shop=true .*not written by a true shop\): .*learned\."):
        run.find("true", "greedy")
    with pytest.raises(UserError, match="oracle looks at the true shop's hidden state"):
        run.find("learned", "oracle")
    both = opened(shops={"learned": PLAYED, "true": PLAYED})
    assert both.find("true", "oracle") == PLAYED(GREEDY) == both.find("true", "greedy")


@pytest.mark.parametrize(
    ("kind", "number", "methods", "said"),
    [
        ("leave", 1, None, "page=1: expected a whole number from 2 to 8"),
        ("leave", 9, None, "page=9: expected a whole number from 2 to 8"),
        ("leave", 2.5, None, "page=2.5: expected a whole number"),
        ("why", None, None, "explain=why: expected one of happened"),
        ("leave", None, ["guess"], "methods=guess: expected some of occlusion"),
        ("leave", None, "guess", "methods=guess: expected some of occlusion"),
        ("leave", None, ["attention"], "LSTMUserModel weighs no events"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_sentence(
    kind: str, number: Any, methods: Any, said: str
) -> None:
    # Why: pages count from 1, and the first has no history.
    with pytest.raises(UserError, match=said):
        explained(MODEL, SESSION, kind, number, methods)


def test_an_explanation_names_the_events_before_its_page() -> None:
    # Why: rows and pages must not slip by one.
    found = explained(MODEL, SESSION, "leave", 4, ["occlusion"])
    assert found.page == 4 and len(found.labels) == 3 == len(found.explanations[0].weights)
    chance = SESSION.steps[3].chances.leave
    assert found.explanations[0].log_prob == pytest.approx(math.log(chance))


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Path:
    """What agents.train leaves, of a model that was not fitted: that would take longest."""
    home = tmp_path_factory.mktemp("inspector")
    settings = compose("train", *FIT, *WORLD, "agent=greedy", "evaluation.sessions=20")
    log, _, _ = prepare_log(settings["log"], kept, {})
    sessions = log.sessions()
    model = build(
        settings["user_model"]["model"], catalog=log.catalog(), seen_I=log.seen_item(),
        profile_BP=sessions.profile, start_ms_B=sessions.time_ms[sessions.offset[:-1]],
    )  # fmt: skip
    save_model(model, home / "model", {})
    (home / "run").mkdir()
    OmegaConf.save(settings, home / "run" / CONFIG)
    summary = {"agent": "greedy", "log": {"folder": str(log.folder)}, "user_model": {}}
    keep(home / "run", summary, "", home / "model")
    return home / "run"


def test_the_command_shows_a_run_and_writes_its_page(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: the whole way, in both shops; the truth stays where it may be known.
    given = [f"run={run}", "shopper=3", f"hydra.run.dir={run / 'log'}"]
    call(main, *given, "against=oracle", "shop=true", "html=true")
    said = capsys.readouterr().out
    assert "in the true shop" in said and "greedy: " in said and "oracle: " in said
    assert (run / "replay-true-shopper3-greedy-oracle.html").read_text().startswith("<!DOCTYPE")
    call(main, *given, "against=greedy")
    assert "Identical in all numbers" in capsys.readouterr().out


def test_the_command_ends_in_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: folders, shoppers and policies are typed by hand.
    for overrides, named in (
        ([], "run is missing"),
        ([f"run={tmp_path}"], "lacks summary.json"),
        ([f"run={run}", "shopper=20"], "from 0 to 19"),
        ([f"run={run}", "policy=best"], "policy best is none of"),
        ([f"run={run}", "page=2"], "page=2 is about an explanation: set explain=click too"),
        ([f"run={run}", "html=maybe"], "html=maybe: expected true or false"),
    ):
        with pytest.raises(SystemExit) as stopped:
            call(main, *overrides, f"hydra.run.dir={tmp_path / 'log'}")
        line = capsys.readouterr().err.strip()
        assert stopped.value.code == 1 and line.startswith("error: ") and named in line
        assert "\n" not in line
