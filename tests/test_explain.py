"""recgym.explain: what each earlier event has to do with a chance, and whether that holds."""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
import torch
from probe_shop import ProbeShop, ProbeState, learned_shop
from torch import Tensor

from agents.baselines import Greedy
from recgym import visit
from recgym.errors import UserError
from recgym.explain.deletion import Explanation, explain, judged
from recgym.explain.figure import figure
from recgym.explain.histories import History, Moment, label, states, visits
from recgym.explain.methods import (
    Asked,
    attention,
    integrated_gradients,
    methods_for,
    occlusion,
    of_visit,
)
from recgym.explain.questions import LEAST, Question, question_of
from recgym.replay.playing import Recommending, play
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Event, Kind, Page

DOUBLE = torch.float64
SHOP = ProbeShop(dtype=DOUBLE)
MODEL = learned_shop(DOUBLE).requires_grad_(False)
SPEC = ObservationSpec(Simulator(MODEL, encoder=MODEL, num_slots=3, dtype=DOUBLE), "encoder")
PAGES, COUNT = (8, 9), 5  # sessions long enough to take events from, and how many
V, P, C = (Kind.VIEW, After.NOTHING), (Kind.CHECKOUT, After.NOTHING), (Kind.VIEW, After.CART)


def event_of(kind: Kind, after: After = After.NOTHING, slot: int = -1, item: int = 0) -> Event:
    viewed = kind == Kind.VIEW
    return Event(
        kind=torch.tensor([int(kind)]),
        item=torch.tensor([item if viewed else -1]),
        slot=torch.tensor([slot]),
        after=torch.tensor([int(after)]),
        price=torch.tensor([10.0 if viewed else 0.0], dtype=DOUBLE),
        quantity=torch.tensor([float(after == After.CART)], dtype=DOUBLE),
        gap=torch.tensor([20.0], dtype=DOUBLE),
    )


def leaving(*events: tuple[Kind, After], shop: Any = SHOP) -> Asked:
    """Why a shopper leaves an empty page after these events."""
    page = Page(torch.full((1, 2), -1), torch.zeros(1, 2, dtype=DOUBLE))
    zero_1 = torch.zeros(1, dtype=torch.int64)
    arrival = shop.arrive(zero_1, zero_1)
    now, moments = visit.begin(arrival.start_ms, 2, DOUBLE), []
    for kind, after in events:
        event = event_of(kind, after)
        moments.append(Moment(page, event, now))
        now = visit.advance(now, page, event, torch.tensor([20.0], dtype=DOUBLE))
    question = Question("leave", page, event_of(Kind.LEAVE))
    return Asked(shop, History(arrival, tuple(moments)), now, question)


def session_of(seed: int) -> History:
    """Of the learned shop."""
    policy = Greedy(MODEL, num_slots=3, cart_paid=0.3)
    return play(Recommending(SPEC, policy), seed, names=("greedy", "learned", seed)).history


def clicked(history: History) -> Asked:
    """Why the shopper clicks what is likeliest on the last page."""
    asked, before = history.moments[-1], history.before(len(history.moments) - 1)
    blank = Asked(MODEL, before, asked.visit, Question("happened", asked.page, asked.event))
    state = states(MODEL, before, blank.all_kept())
    question = question_of("click", MODEL, state, asked)
    return Asked(MODEL, before, asked.visit, question)


@pytest.fixture(scope="module")
def sessions() -> list[History]:
    played = (session_of(seed) for seed in range(1000))
    found = list(islice((h for h in played if len(h.moments) in PAGES), COUNT))
    assert len(found) == COUNT
    return found


def test_occlusion_by_hand() -> None:
    # Why: each of four views lifts the logit of leaving, views / 2 - 1, by 1/2, from 0.5 to 1:
    # ln s(1) - ln s(0.5) = -0.3132617 + 0.4740770. To pay changes nothing.
    found = occlusion(leaving(V, V, P, V, V))
    assert found.tolist() == pytest.approx([0.1608153, 0.1608153, 0.0, 0.1608153, 0.1608153])


def test_integrated_gradients_by_hand() -> None:
    # Why: from no view to four, ln s(1) - ln s(-1) = 1, shared by four equal events.
    pytest.importorskip("captum")
    found = integrated_gradients(leaving(V, V, P, V, V))
    assert found.tolist() == pytest.approx([0.25, 0.25, 0.0, 0.25, 0.25], abs=1e-6)


def test_gradients_add_up_to_what_all_events_do(sessions: list[History]) -> None:
    # Why: the axiom of completeness; it fails where a part of the state is hidden from gradients.
    pytest.importorskip("captum")
    asked = clicked(sessions[0])
    none, lane = torch.zeros_like(asked.all_kept()), torch.zeros(1, dtype=torch.int64)
    at_none = asked.question.log_prob(MODEL, states(MODEL, asked.history, none), asked.visit)
    counted = dataclasses.replace(asked, visit=asked.visit.lanes(lane))
    at_all = float(counted.log_prob(asked.all_kept()))
    found = integrated_gradients(asked) - of_visit(asked)
    assert float(found.sum()) == pytest.approx(at_all - float(at_none), abs=1e-4)
    assert abs(at_all - float(at_none)) > 0.05


def test_an_event_that_is_not_kept_is_as_if_it_had_not_been_read(sessions: list[History]) -> None:
    # Why: what "without the event" means must not hang on how lanes are mixed.
    history = sessions[0]
    kept = torch.ones(2, len(history.moments), dtype=DOUBLE)
    kept[1, 2] = 0.0
    both: Any = states(MODEL, history, kept)
    for lane, skipped in ((0, None), (1, 2)):
        state: Any = MODEL.init_state(history.arrival)
        for number, moment in enumerate(history.moments):
            if number != skipped:
                seen = moment.page, moment.event, moment.visit
                state = MODEL.observe(MODEL.read(state), *seen)
        assert torch.allclose(both.h[lane], state.h[0], atol=1e-12)
        assert torch.allclose(both.belief.mean[lane], state.belief.mean[0], atol=1e-12)


def test_what_the_site_counts_is_counted_without_the_event() -> None:
    # Why: without its carting the cart is empty and cannot be paid; the clock stays.
    asked = leaving(V, C, V)
    kept = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=DOUBLE)
    found = visits(asked.history, asked.visit, kept)
    assert found.cart_count().tolist() == [1, 0]
    assert found.page_number.tolist() == [3, 3]
    assert found.time_ms.tolist() == [int(asked.visit.time_ms)] * 2
    assert found.history_item[:, :3].tolist() == [[0, 0, 0], [0, 0, -1]]
    pay = dataclasses.replace(asked.question, kind="happened", event=event_of(Kind.CHECKOUT))
    paying = dataclasses.replace(asked, question=pay).log_prob(kept)
    assert float(paying[0]) > -2.0 and float(paying[1]) == pytest.approx(math.log(LEAST))


def test_an_explanation_holds_by_hand() -> None:
    # Why: three views of six events named: ln s(0.5) - ln s(-1) = 0.8391847 is lost. Of the twenty
    # sets of three, 1, 9, 9 and 1 hold 0, 1, 2 and 3 views, and lose 0, 0.2190702, 0.5, 0.8391847.
    asked = leaving(V, P, V, P, V, P)
    found = explain(asked, "occlusion")
    assert sorted(found.named) == [0, 2, 4]
    assert found.cut == pytest.approx(0.8391847, abs=1e-6)
    assert found.random_cut == pytest.approx(0.3655408, abs=1e-6)
    assert found.holds and found.verdict.startswith("holds: without pages 1, 3, 5 ")


def test_where_fewer_events_speak_for_it_as_many_are_removed() -> None:
    # Why: two views of four events: ln s(0) - ln s(-1) = 0.6201145. Of the six pairs 1, 4 and 1
    # hold 0, 1 and 2 views, and lose 0, ln s(0) - ln s(-0.5) = 0.2809298, and all of that.
    found = explain(leaving(P, V, V, P), "occlusion")
    assert sorted(found.named) == [1, 2] and found.cut == pytest.approx(0.6201145, abs=1e-6)
    assert found.random_cut == pytest.approx((4 * 0.2809298 + 0.6201145) / 6, abs=1e-6)


def test_a_wrong_explanation_is_said_not_to_hold() -> None:
    # Why: a method that names what has nothing to do with it must not pass.
    wrong = torch.tensor([0.1, 0.9, 0.0, 0.8, 0.0, 0.7], dtype=DOUBLE)
    found = judged(leaving(V, P, V, P, V, P), "guessed", wrong)
    assert found.cut == pytest.approx(0.0) and not found.holds
    assert found.verdict.startswith("does not hold, so do not rely on it: without pages 2, 4, 6 ")


@pytest.mark.parametrize(
    ("events", "said"),
    [((V, V, V), "3 of 3 earlier events"), ((P, P, P), "0 of 3 earlier events")],
)
def test_what_cannot_be_tested_is_not_called_right(events: Any, said: str) -> None:
    # Why: with nothing to compare with, removing all proves nothing.
    found = explain(leaving(*events), "occlusion")
    assert found.named == () and not found.holds and f"not tested: {said}" in found.verdict


@pytest.mark.parametrize("method", ["occlusion", "integrated_gradients"])
def test_methods_name_what_matters_twice_as_much_as_chance(
    method: str, sessions: list[History]
) -> None:
    # Why: the promise of every method, on a model with all its parts; means over the sessions.
    if method == "integrated_gradients":
        pytest.importorskip("captum")
    found = [explain(clicked(history), method) for history in sessions]
    put = [one for one in found if len(one.named) == 3]
    assert len(put) >= 4
    cut, by_chance = sum(one.cut for one in put), sum(one.random_cut for one in put)
    assert cut > 0 and cut >= 2.0 * by_chance


# ---- other user models --------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen(ProbeState):
    """A probe shopper who keeps every event, as a Transformer's cache does."""

    cache: Tensor  # [N, T]


class Growing(ProbeShop):
    def init_state(self, arrival: Any) -> Any:
        views = super().init_state(arrival).views
        return Seen(views, views.unsqueeze(-1)[:, :0])

    def observe(self, state: Any, *seen: Any) -> Any:
        views = super().observe(state, *seen).views
        return Seen(views, torch.cat([state.cache, views.unsqueeze(-1)], -1))


class Weighing(ProbeShop):
    """Weighs the first event most."""

    def attention(self, state: Any) -> Tensor:
        return torch.tensor([[0.4, 0.3, 0.2, 0.1]])


def test_a_state_that_grows_is_explained_by_occlusion_alone() -> None:
    # Why: a Transformer's cache has no straight line from one length to the next.
    asked = leaving(V, P, V, V, shop=Growing(dtype=DOUBLE))
    assert occlusion(asked).tolist() == pytest.approx(occlusion(leaving(V, P, V, V)).tolist())
    pytest.importorskip("captum")
    with pytest.raises(UserError, match=r"Growing grows.*methods=\[occlusion\]"):
        integrated_gradients(asked)


def test_attention_is_asked_of_models_that_have_it() -> None:
    # Why: the hook of user models with attention; the others say so in a sentence.
    asked = leaving(V, P, V, V, shop=Weighing(dtype=DOUBLE))
    assert attention(asked).tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1])
    short = leaving(V, V, shop=Weighing(dtype=DOUBLE))  # with places before the first event
    assert attention(short).tolist() == pytest.approx([0.2, 0.1])
    long = leaving(V, V, V, V, V, shop=Weighing(dtype=DOUBLE))  # longer than what is in sight
    assert attention(long).tolist() == pytest.approx([0.0, 0.4, 0.3, 0.2, 0.1])
    found = explain(asked, "attention")
    assert sorted(found.named) == [0, 1, 2] and not found.holds
    assert methods_for(Weighing()) == [*methods_for(SHOP), "attention"]
    with pytest.raises(UserError, match="ProbeShop weighs no events"):
        attention(leaving(V, V))


def test_without_captum_occlusion_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: it is an extra, and whoever asks for it by name is told which.
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(UserError, match=r"need captum: pip install 'recgym\[explain\]'"):
        integrated_gradients(leaving(V, V))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert methods_for(SHOP) == ["occlusion"]


# ---- questions ----------------------------------------------------------------------------------


def test_chances_of_questions_by_hand() -> None:
    # Why: after four views and with a full cart leaving has the logit 1, paying 0 and going on 0;
    # alone, items 0 to 3 are found and then bought with probability 10 / (10 + price).
    asked = leaving(V, V, V, C)
    whole = math.e + 2.0
    found = {
        kind: float(
            dataclasses.replace(asked.question, kind=kind, event=event_of(Kind.CHECKOUT))
            .log_prob(SHOP, ProbeState(torch.tensor([4.0], dtype=DOUBLE)), asked.visit)
            .exp()
        )
        for kind in ("leave", "happened", "buy")
    }
    bought = 0.4 / 2 + 0.3 / 3 + 0.2 / 4 + 0.1 / 5  # 0.37, at the prices of day 0
    assert found["leave"] == pytest.approx(math.e / whole)
    assert found["happened"] == pytest.approx(1.0 / whole)
    assert found["buy"] == pytest.approx((1.0 + bought) / whole)


def test_a_click_is_the_one_that_happened_or_the_likeliest() -> None:
    # Why: "the next click" must be one item.
    page = Page(torch.tensor([[-1, 3]]), torch.tensor([[0.0, 40.0]], dtype=DOUBLE))
    asked = leaving(V, V)
    state = ProbeState(torch.tensor([2.0], dtype=DOUBLE))
    moment = Moment(page, event_of(Kind.LEAVE), asked.visit)
    found = question_of("click", SHOP, state, moment)
    assert (found.slot, found.text) == (1, "a click on item 3 in slot 2")
    empty = dataclasses.replace(moment, page=asked.question.page)
    with pytest.raises(UserError, match="the page is empty"):
        question_of("click", SHOP, state, empty)
    with pytest.raises(UserError, match="expected one of happened, click, buy, leave"):
        question_of("why", SHOP, state, moment)


def test_events_are_told_in_words() -> None:
    # Why: a reader knows events, not codes.
    assert label(event_of(Kind.VIEW, After.CART, slot=1, item=7)) == "clicked 7, into the cart"
    assert label(event_of(Kind.VIEW, item=7)) == "found 7"
    assert label(event_of(Kind.CHECKOUT)) == "paid for the cart"


def test_the_figure_draws_each_event_to_scale() -> None:
    # Why: the longest bar is 150 pixels, to the right for what speaks for it; labels are escaped.
    found = Explanation("occlusion", (0.5, -0.25), -1.0, (), 0.0, 0.0)
    drawn = figure(["a<b", "c"], found)
    assert 'width="150.0"' in drawn and 'width="75.0"' in drawn and "a&lt;b" in drawn
    assert drawn.count("<rect") == 2 and "+0.500" in drawn and "-0.250" in drawn
