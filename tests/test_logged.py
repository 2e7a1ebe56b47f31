"""agents.logged: a log played again shows agents what a shop would have, and pays what was paid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import logging_policy, simulate, without_pages
from tiny import TRAIN, WORLD, below, call
from torch import Tensor

from agents import evaluate, train
from agents.logged import LoggedCore, check_pages, gaps
from recgym.errors import UserError
from recgym.reward import click, expected_revenue
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Event, Kind, Observation, Outcome, Page, Sessions, Split
from recgym.users.base import Shoppers
from recgym.users.lstm import LSTMUserModel
from recgym.users.returning import ReturnHead
from recgym.users.states import SequenceState
from recgym.worlds.taste import TasteShop

SLOTS = 3
MODEL = learned_shop()


def spec_of(model: LSTMUserModel, shop: Shoppers | None = None) -> ObservationSpec:
    return ObservationSpec(Simulator(shop or model, encoder=model, num_slots=SLOTS), "encoder")


def world_and_model() -> tuple[TasteShop, LSTMUserModel]:
    """A true shop and an unfitted model of it, which reads its shoppers all the same."""
    world, seed = TasteShop(num_items=40), torch.arange(50)
    arrival = world.arrive(seed, torch.zeros_like(seed))
    torch.manual_seed(0)
    every_I = torch.ones(40, dtype=torch.bool)
    model = LSTMUserModel(world.catalog, every_I, arrival.profile, arrival.start_ms)
    return world, model.requires_grad_(False).eval()


def by_hand() -> tuple[Sessions, Tensor]:
    """Two training sessions and one of testing: a cart that is paid, a lone view, a leave."""
    view, checkout, leave = int(Kind.VIEW), int(Kind.CHECKOUT), int(Kind.LEAVE)
    cart, nothing, none = int(After.CART), int(After.NOTHING), [-1, -1, -1]
    # kind, item, slot, after, price, quantity, gap, page, second, paid
    rows: list[tuple[Any, ...]] = [
        (view, 7, 1, cart, 10.0, 2.0, 0.0, [5, 7, 9], 0, 0.0),
        (checkout, -1, -1, nothing, 0.0, 0.0, 30.0, [1, 2, -1], 30, 18.0),
        (leave, -1, -1, nothing, 0.0, 0.0, 0.0, [3, 4, 6], 75, 0.0),
        (view, 8, -1, nothing, 4.0, 0.0, 0.0, none, 0, 0.0),
        (leave, -1, -1, nothing, 0.0, 0.0, 0.0, none, 0, 0.0),
        (leave, -1, -1, nothing, 0.0, 0.0, 0.0, [11, 12, 13], 0, 0.0),
    ]
    kind, item, slot, after, price, quantity, gap, page, second, paid = (
        torch.tensor(column) for column in zip(*rows, strict=True)
    )
    sessions = Sessions(
        event=Event(kind, item, slot, after, price, quantity, gap),
        page=Page(page, torch.ones(page.shape)),
        time_ms=MODEL.catalog.start_ms + 1000 * second,
        offset=torch.tensor([0, 3, 5, 6]),
        shopper=torch.tensor([0, 1, 2]),
        profile=torch.zeros(3, 2),
        split=torch.tensor([int(Split.TRAIN), int(Split.TRAIN), int(Split.TEST)]),
    )
    return sessions, paid


def core_of(num_envs: int, reward: Any = expected_revenue) -> LoggedCore:
    return LoggedCore(spec_of(MODEL), *by_hand(), reward, num_envs=num_envs)


def test_a_log_is_played_session_by_session() -> None:
    # Why: observations of several sessions hold counts that a log's lanes would lack.
    model = learned_shop()
    model.return_head = ReturnHead(model.num_groups)
    simulator = Simulator(model, encoder=model, num_slots=SLOTS, num_sessions=2)
    with pytest.raises(UserError, match="num_sessions=2 has no effect on a log's own pages"):
        LoggedCore(ObservationSpec(simulator, "encoder"), *by_hand(), click, num_envs=1)


def test_a_session_by_hand() -> None:
    # Why: two pieces of item 7 at 10 go into the cart, which then is worth 20; the log says that 18
    # were paid for it, and 18 is the reward, of the checkout's page. The shopper leaves on the
    # third page, 45 seconds later, and only there does the episode end.
    core = core_of(1)
    observation, seen = core.reset(0), []
    while int(observation.arrival.session) != 0:  # the order is random
        observation = core.step(core.act(observation)).observation
    for _ in range(3):
        page = core.act(observation)
        transition = core.step(page)
        visit = observation.visit
        seen.append((page[0].tolist(), float(visit.cart_value()), float(visit.gap)))
        seen[-1] += (float(transition.reward), bool(transition.terminated))
        final, observation = transition.final_observation, transition.observation
    assert seen == [
        ([5, 7, 9], 0.0, 0.0, 0.0, False),
        ([1, 2, -1], 20.0, 30.0, 18.0, False),
        ([3, 4, 6], 0.0, 45.0, 0.0, True),
    ]
    assert int(final.visit.page_number) == 3 and int(observation.visit.page_number) == 0
    assert not bool(transition.truncated) and bool(transition.outcome.left)


def test_other_rewards_come_from_the_same_outcome() -> None:
    # Why: `reward=click` must pay for the click in slot 1, and not for what was found alone.
    core = core_of(2, click)
    observation = core.reset(0)
    first = observation.arrival.session
    reward = core.step(core.act(observation)).reward
    assert reward[first == 0].tolist() == [1.0] and reward[first == 1].tolist() == [0.0]


def test_what_an_agent_would_show_changes_nothing() -> None:
    # Why: a log can only be watched; an agent's own page must not be taken for the log's.
    core, other = core_of(2), core_of(2)
    told = core.reset(3)
    other.reset(3)
    for _ in range(4):
        one, two = core.step(core.act(told)), other.step(torch.zeros(2, SLOTS, dtype=torch.int64))
        assert torch.equal(one.outcome.page.item, two.outcome.page.item)
        assert torch.equal(one.observation.feature, two.observation.feature)
        told = one.observation


def test_the_time_before_leaving_does_not_tell_who_leaves() -> None:
    # Why: a log gives a leave step the gap 0, and no other step has it: values would be learned
    # from it that no shop shows. The first leave's page was shown after 45 s; of the second, on an
    # empty page, nothing is known, and the model's own median stands in.
    sessions, _ = by_hand()
    known, gap = gaps(sessions)
    assert gap[:3].tolist() == [0.0, 30.0, 45.0] and known.tolist() == [True] * 4 + [False, True]
    core = core_of(1)
    observation = core.reset(0)
    while int(observation.arrival.session) != 1:
        observation = core.step(core.act(observation)).observation
    observation = core.step(core.act(observation)).observation
    user = core.state.sim.user
    assert isinstance(user, SequenceState)
    expected = MODEL.gap(user)[0].exp().item()
    assert observation.visit.gap.item() == pytest.approx(expected) and expected > 0.1


def test_each_training_session_is_played_once_before_any_is_played_again() -> None:
    # Why: an epoch, and no more: held-out sessions would make a check on them worthless.
    world, model = world_and_model()
    policy = logging_policy(world, SLOTS)
    sessions, _, _ = simulate(Simulator(world, num_slots=SLOTS), policy, 30, shares=(0.4, 0.3))
    paid = torch.zeros(len(sessions.time_ms))
    core = LoggedCore(spec_of(model), sessions, paid, click, num_envs=4)
    observation = core.reset(1)
    begun: list[list[int]] = [[int(x)] for x in observation.arrival.session]
    while min(len(one) for one in begun) < 3:
        transition = core.step(core.act(observation))
        observation = transition.observation
        for lane in transition.terminated.nonzero().flatten().tolist():
            begun[lane].append(int(observation.arrival.session[lane]))
    assert sorted(row for one in begun for row in one[:3]) == list(range(12))


def test_the_agent_sees_what_it_would_have_seen_in_the_shop() -> None:
    # Why: what is learned from a log is then acted on in a shop: the same features, step by step,
    # and the same pages, sales and ends. The log's milliseconds round the gaps, and of who left
    # from an empty page the last gap is not known.
    world, model = world_and_model()
    policy = logging_policy(world, SLOTS)
    sessions, _, _ = simulate(Simulator(world, num_slots=SLOTS), policy, 40, shares=(1.0, 0.0))
    seen: dict[tuple[int, int], tuple[Tensor, Tensor, bool, float]] = {}

    def on_step(index: Tensor, state: SimState, observation: Observation, outcome: Outcome) -> None:
        for lane, row in enumerate(index.tolist()):
            key = row, int(state.visit.page_number[lane])
            page, revenue = outcome.page.item[lane], float(outcome.revenue[lane])
            seen[key] = observation.feature[lane], page, bool(outcome.left[lane]), revenue

    seed = torch.arange(40)
    rollout(spec_of(model, world), policy, seed, torch.zeros_like(seed), on_step=on_step)
    paid = torch.tensor([seen[key][3] for key in sorted(seen)])
    core = LoggedCore(spec_of(model), sessions, paid, expected_revenue, num_envs=40)
    observation, compared = core.reset(0), 0
    for _ in range(8):
        row, number = observation.arrival.session, observation.visit.page_number
        transition = core.step(core.act(observation))
        for lane in range(40):
            feature, page, left, revenue = seen[int(row[lane]), int(number[lane])]
            assert torch.equal(transition.outcome.page.item[lane], page)
            assert bool(transition.terminated[lane]) == left
            assert float(transition.reward[lane]) == pytest.approx(revenue)
            if not (left and bool((page < 0).all())):
                assert torch.allclose(observation.feature[lane], feature, atol=2e-3)
                compared += 1
        observation = transition.observation
    assert compared > 250 and float(paid.sum()) > 0


def test_lanes_go_on_from_where_they_were_kept() -> None:
    # Why: a run that was killed must see the rest of the log, not its beginning again.
    core, other = core_of(2), core_of(2)
    observation = core.reset(5)
    for _ in range(3):
        observation = core.step(core.act(observation)).observation
    other.reset(5)
    other.load_state_dict(core.state_dict())
    for _ in range(4):
        one, two = core.step(core.act(observation)), other.step(other.act(other.observation))
        assert torch.equal(one.observation.feature, two.observation.feature)
        assert torch.equal(one.reward, two.reward)
        observation = one.observation


def test_each_page_comes_with_its_own_propensities() -> None:
    # Why: importance weights of another page's items are worse than none. Lane 0 plays a session of
    # three pages whose propensities tell the step, lane 1 one of empty pages.
    sessions, paid = by_hand()
    chance = 0.1 * torch.arange(1, 7).unsqueeze(-1).expand(-1, SLOTS)
    given: dict[str, Any] = {"num_envs": 2, "propensity_SK": chance}
    core, seen = LoggedCore(spec_of(MODEL), sessions, paid, click, **given), []
    core.reset(0)
    lane = int((core.state.step == 0).nonzero())
    for _ in range(3):
        found = core.step(core.act(core.observation)).propensity
        assert found is not None and found.shape == (2, SLOTS)
        seen.append(float(found[lane, 0]))
    assert seen == pytest.approx([0.1, 0.2, 0.3])
    silent = core_of(2)
    assert silent.step(silent.act(silent.reset(0))).propensity is None


def test_a_log_without_pages_is_refused_in_a_sentence() -> None:
    # Why: what was shown is all that these agents learn from, and most click logs do not say.
    sessions, _ = by_hand()
    check_pages(sessions, "clicks.csv", "cql")
    with pytest.raises(UserError, match=r"^agent=cql learns from .* clicks.csv .* agent=dqn"):
        check_pages(without_pages(sessions), "clicks.csv", "cql")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logged")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bcq", "iql"])  # all parts of them: cloning, DQN's hooks, values
def test_the_main_job_learns_from_the_log(name: str, home: Path, kept: Path) -> None:
    # Why: one command, from a log to a valued policy, for these agents as for all; the finished run
    # is opened and valued again to the same numbers.
    few = ["steps=320", "evaluation.sessions=16"]
    call(train.main, f"agent={name}", *TRAIN, *WORLD, *few, *below(home, name, kept))
    summary = json.loads((home / name / "summary.json").read_text())
    assert summary["environment_steps"] == 320
    assert summary["policies"][name]["true"]["revenue_per_session"]["mean"] > 0
    arguments = ["sessions=16", "seed=0", "device=cpu", f"hydra.run.dir={home / 'valued'}"]
    call(evaluate.main, f"run={home / name}", *arguments)
    again = json.loads((home / name / "evaluation-seed0-sessions16.json").read_text())
    assert again["policies"][name] == summary["policies"][name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["log.impressions=false"], "choose an agent that learns in the learned shop, as"),
        (["user_model.ensemble.members=4", "pessimism=1"], "learns from the log alone"),
    ],
)
def test_what_a_log_cannot_give_ends_in_a_sentence(
    overrides: list[str], sentence: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: not in a traceback, and before the fit.
    with pytest.raises(SystemExit) as stopped:
        call(train.main, "agent=iql", *overrides, *TRAIN, *WORLD, *below(home, "refused"))
    said = capsys.readouterr()
    assert stopped.value.code == 1 and sentence in said.err.replace("\n", " ")
    assert "user model" not in said.out
