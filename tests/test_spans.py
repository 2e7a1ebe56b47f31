"""recgym.users.spans: a long session in windows is the session, and gradients end where they do."""

from __future__ import annotations

import dataclasses

import family
import pytest
import torch
from family import F64, KINDS, log_of, made
from torch import Tensor

from recgym.errors import UserError
from recgym.types import Event, Page, Sessions
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob
from recgym.users.sequence import SequenceModel
from recgym.users.spans import Carried, Spans, spans_of
from recgym.users.training import FitSettings, fit, mean_nll, start_from_counts

COUNT, WINDOW = 6, 2
SIGHT = 5  # of a memory with a window: at first there is less than it could see
PROPER = [name for name in KINDS if name not in ("page_blind", "item_clicks")]  # those are LSTMs


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    return log_of(COUNT)


def windowed(model: SequenceModel, sessions: Sessions) -> tuple[Tensor, Tensor, Spans]:
    """Log-likelihood of each step, of the log's order, of whole sessions and of windows."""
    cart_S, rows = cart_counts(sessions), torch.arange(len(sessions.split))
    steps = gather_steps(sessions, cart_S, rows)
    carried, spans = Carried(WINDOW), spans_of(sessions, rows, WINDOW)
    expected = expectations(model, steps, carried.meet)
    expected_S = expected.lanes(steps.step.argsort())
    model.prepare()
    whole, parts = torch.zeros(2, len(steps.step), dtype=F64).unbind()
    whole = whole.index_put((steps.step,), log_prob(model, steps, expected).total())
    for part in torch.arange(len(spans.row)).flip(0).split(5):  # in any order, and mixed
        some = carried.onto(spans.gather(sessions, cart_S, part))
        value = log_prob(model, some, expected_S.lanes(some.step)).total()
        parts = parts.index_put((some.step,), value)
    return whole, parts, spans


@pytest.mark.parametrize("name", PROPER)
def test_windows_say_what_the_whole_session_says(name: str, sessions: Sessions) -> None:
    # Why: the cut is in the gradient alone; a state that lost anything on its way would show here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "WINDOW", SIGHT)
        model = made(name)
    with torch.no_grad():
        whole, parts, spans = windowed(model, sessions)
    assert spans.cut and int(spans.first.max()) >= 2 * WINDOW  # some go on from what went on
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-10)


def test_a_gradient_ends_where_its_window_begins(sessions: Sessions) -> None:
    # Why: that is what keeps a session of many thousand steps in memory. Within a window it is
    # whole: of the first one, the beginning's weights learn what they learn from it alone.
    model = made("lstm")
    whole, parts, _ = windowed(model, sessions)
    number_S = torch.cat([torch.arange(int(n)) for n in sessions.offset.diff()])
    weights = [model.memory.weight_hh_l0, model.begin.weight]

    def gradients(value_S: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value_S.sum(), weights, retain_graph=True))

    moved, begun = gradients(parts)
    for ours, theirs in zip((moved, begun), gradients(whole), strict=True):
        assert float((ours - theirs).abs().max()) > 1e-6
    first = gradients(whole[number_S < WINDOW])
    torch.testing.assert_close(begun, first[1], rtol=0, atol=1e-9)


def test_sessions_are_cut_into_windows_and_a_rest() -> None:
    # Why: by hand, of 5, 2 and 4 steps.
    offset = torch.tensor([0, 5, 7, 11])
    none = torch.zeros(11)
    event = Event(none.long(), none.long(), none.long(), none.long(), none, none, none)
    three = torch.zeros(3, dtype=torch.int64)
    page = Page(torch.zeros(11, 0, dtype=torch.int64), torch.zeros(11, 0))
    log = Sessions(event, page, none.long(), offset, three, torch.zeros(3, 0), three)
    spans = spans_of(log, torch.tensor([0, 1, 2]), 2)
    assert spans.row.tolist() == [0, 0, 0, 1, 2, 2]
    assert spans.first.tolist() == [0, 2, 4, 0, 0, 2]
    assert spans.last.tolist() == [2, 4, 5, 2, 2, 4] and spans.cut
    whole = spans_of(log, torch.tensor([2, 0]), 5)
    assert whole.row.tolist() == [2, 0] and whole.length.tolist() == [4, 5] and not whole.cut


def test_a_fit_in_windows_learns() -> None:
    # Why: the states carried must be those of the sessions that the windows are of, in every batch
    # of every epoch, sessions drawn twice included.
    model, sessions, rows = made("gru", dtype=torch.float32), log_of(120, torch.float32), range(96)
    start_from_counts(model, sessions, torch.tensor(rows))
    before = mean_nll(model, sessions, torch.tensor(rows))["nll"]
    chosen = FitSettings(epochs=2, least_updates=1, learning_rate=1e-2, window=WINDOW)
    fit(model, sessions, chosen, seed=0, bootstrap=True)
    assert mean_nll(model, sessions, torch.tensor(rows))["nll"] < before - 0.1


def test_a_window_of_nothing_ends_in_a_sentence() -> None:
    with pytest.raises(UserError, match=r"fit\.window=0: expected a whole number of at least 1"):
        dataclasses.replace(FitSettings(), window=0)
