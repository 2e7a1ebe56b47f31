"""recgym.users.returning: who comes back, as a log has it, and as a learned shop then plays it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from probe_shop import learned_shop
from torch import Tensor

from recgym.envs.core import open_core
from recgym.errors import UserError
from recgym.logs.log import Log
from recgym.record import TrueShopLog
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.stages.model import check_returns
from recgym.types import DAY_MS, After, Event, Kind, Observation, Outcome, Page, Sessions, Split
from recgym.users.base import Return
from recgym.users.returning import (
    NUM_SUMMARIES,
    ReturnHead,
    clicks_of,
    fit_return_head,
    followed,
    likeliest,
    log_likelihood,
    num_returns,
    summaries,
    tallies_of,
)
from recgym.users.store import load_model, save_model

SLOTS = 4
WORLD: dict[str, Any] = {
    "_target_": "recgym.worlds.taste.TasteShop", "num_items": 25, "slot": -2.5, "returns": True,
    "return_base": -0.5, "return_weight": 6.0, "return_days": 3.0, "content_kind": 0.5,
}  # fmt: skip
J = 3  # groups of categories of `by_hand`, of item i the group i % J


def reader(num_sessions: int = 1600) -> TrueShopLog:
    return TrueShopLog(
        world=WORLD, num_sessions=num_sessions, num_slots=SLOTS, seed=5, max_sessions=6
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return reader().clean(tmp_path_factory.mktemp("returning") / "log")


def by_hand() -> Sessions:
    """Shopper 0 comes on days 0 and 2, shopper 1 on day 1; the training period ends on day 3.

    Steps of two slots each: a clicked page, a page of one repeat that an order follows and the
    leave page; the others leave on their second page.
    """
    rows = [  # session, kind, slot, after, page, day
        (0, Kind.VIEW, 1, After.NOTHING, [0, 1], 0.0),
        (0, Kind.VIEW, -1, After.BUY, [1, 2], 0.0),
        (0, Kind.LEAVE, -1, After.NOTHING, [3, -1], 0.0),
        (1, Kind.VIEW, 0, After.CART, [1, 2], 1.0),
        (1, Kind.LEAVE, -1, After.NOTHING, [-1, -1], 1.0),
        (2, Kind.VIEW, -1, After.NOTHING, [0, 1], 2.0),
        (2, Kind.LEAVE, -1, After.NOTHING, [1, 0], 3.0),
        (3, Kind.VIEW, -1, After.NOTHING, [0, 1], 9.0),
        (3, Kind.LEAVE, -1, After.NOTHING, [1, 0], 9.0),
    ]
    session, kind, slot, after, page, day = zip(*rows, strict=True)
    whole = [torch.tensor([int(x) for x in column]) for column in (kind, slot, after)]
    nothing = torch.zeros(len(rows))
    length = torch.bincount(torch.tensor(session))
    return Sessions(
        event=Event(whole[0], whole[0], whole[1], whole[2], nothing, nothing, nothing),
        page=Page(torch.tensor(page), torch.zeros(len(rows), 2)),
        time_ms=(torch.tensor(day) * DAY_MS).long(),
        offset=torch.cat([torch.zeros(1, dtype=torch.int64), length.cumsum(0)]),
        shopper=torch.tensor([0, 1, 0, 1]),
        profile=torch.zeros(4, 0),
        split=torch.tensor([int(Split.TRAIN)] * 3 + [int(Split.TEST)]),
    )


def test_a_log_is_counted_as_a_running_shop_counts() -> None:
    # Why: the head meets the counts of the simulator. By hand: pages, clicks, orders, repeats.
    tally = tallies_of(by_hand())
    assert tally.tolist() == [[3, 1, 1, 0.5], [2, 1, 0, 0], [2, 0, 0, 1], [2, 0, 0, 1]]


def test_who_came_back_by_the_end_of_training_and_how_long_others_were_watched() -> None:
    # Why: that shopper 1 comes on day 9 is not known on day 3, and is no absence of 2 days either.
    read, back, days, row = followed(by_hand())
    assert row.tolist() == [0, 2, 1] and back.tolist() == [True, False, False]
    assert days.tolist() == [2.0, 0.0, 2.0]
    third, log_pages = 1 / 3, math.log(4.0)
    assert read[0].tolist() == pytest.approx([third, third, 0.5 / 3, log_pages, 0, 0, 0, 0, 0])
    assert read[1].tolist() == pytest.approx(
        [0, 0, 0.5, math.log(3.0), third, third, 0.5 / 3, log_pages, 1]
    )
    assert float(read[2, -1]) == 0.0 and read.shape[1] == NUM_SUMMARIES


def test_clicks_are_counted_by_kind_and_fade_over_a_shoppers_sessions() -> None:
    # Why: by hand, half a page's count is left by the next: of the click on the first of the three
    # pages of session 0 a quarter, and of that a quarter after the two pages of the shopper's next
    # one; of the click of session 1 a half. And the running shop counts so.
    sessions = by_hand()
    group_I, row = torch.arange(6) % J, torch.tensor([0, 2, 1])
    view = int(Kind.VIEW) % J
    clicks = clicks_of(sessions, row, group_I, J, 0.5)
    expected = torch.zeros(3, J)
    expected[:, view] = torch.tensor([0.25, 0.0625, 0.5])
    torch.testing.assert_close(clicks, expected)
    three = torch.tensor([0, 2, 3])  # the sessions of one shopper, were the last one hers too
    alone = dataclasses.replace(sessions, shopper=torch.tensor([0, 1, 0, 0]))
    assert clicks_of(alone, three, group_I, J, 0.5)[:, view].tolist() == [0.25, 0.0625, 0.015625]
    head = ReturnHead(J)
    head.memory.fill_(0.5)
    running = torch.zeros(1, J)
    for step in (0, 1, 2, 5, 6):  # of shopper 0
        event = sessions.event.lanes(torch.tensor([step]))
        running = head.count(running, group_I[event.item], event)
    torch.testing.assert_close(running, clicks[1:2])


def test_a_log_to_which_nobody_comes_back_is_refused_before_its_fit() -> None:
    # Why: a fit takes minutes to hours. By hand: one return in training, and the days of one have
    # no spread; were session 3 of shopper 1 training too, there would be two.
    log: Any = SimpleNamespace(sessions=by_hand, meta={"source": "a.csv"}, folder=Path("log"))
    check_returns(log, 1)
    with pytest.raises(UserError, match=r"env\.num_sessions=3 needs.*a\.csv.*env\.num_sessions=1"):
        check_returns(log, 3)
    whole = dataclasses.replace(by_hand(), split=torch.full((4,), int(Split.TRAIN)))
    assert num_returns(by_hand()) == 1 and num_returns(whole) == 2
    check_returns(SimpleNamespace(sessions=lambda: whole), 3)  # type: ignore[arg-type]


def test_the_likelihood_by_hand() -> None:
    # Why: half come back, after e^0 days with sd 1. After 1 day: ln 0.5 - ln sqrt(2 pi) = -1.6121;
    # nobody by then: 1 - 0.5 * 0.5, ln 0.75 = -0.2877; not watched at all: 0.
    law = Return(torch.zeros(3), torch.zeros(3), torch.ones(()))
    back, days = torch.tensor([True, False, False]), torch.tensor([1.0, 1.0, 0.0])
    expected = torch.tensor([-1.6121, -0.2877, 0.0])
    torch.testing.assert_close(log_likelihood(law, back, days), expected, atol=1e-4, rtol=0)


def test_who_is_not_back_yet_is_not_taken_for_gone() -> None:
    # Why: half of those who come back do so after the log's end here. At 1 - 2 x of two counts the
    # head finds the law within three standard errors or so; shares of returns seen would not.
    g = torch.Generator().manual_seed(0)
    count = 6000
    read = torch.zeros(count, NUM_SUMMARIES)
    read[:, :2] = torch.rand(count, 2, generator=g)
    logit = 1.0 - 2.0 * read[:, 0]
    away = (1.0 + 0.5 * torch.randn(count, generator=g)).exp()
    watched = 6.0 * torch.rand(count, generator=g)
    back = (torch.rand(count, generator=g) < torch.sigmoid(logit)) & (away < watched)
    assert float(back.float().mean()) < 0.6 * float(torch.sigmoid(logit).mean())
    head, loss = likeliest(read, back, torch.where(back, away, watched))
    assert 0.0 < loss < 2.0
    assert float(head.bias) == pytest.approx(1.0, abs=0.3)
    assert head.weight[:2].tolist() == pytest.approx([-2.0, 0.0], abs=0.4)
    assert head.weight[2:].abs().max() < 1e-6
    assert head.days.tolist() == pytest.approx([1.0, 0.5], abs=0.06)


def test_where_nobody_comes_back_there_is_no_head() -> None:
    # Why: one return has no spread of days, and none has no law; several sessions are then refused.
    assert fit_return_head(by_hand(), torch.arange(6) % J, J) is None
    with pytest.raises(UserError, match="nobody comes back to this LSTMUserModel"):
        open_core(learned_shop(), num_slots=2, num_sessions=2)


def test_a_log_of_returning_shoppers_ends_with_the_calendar(log: Log) -> None:
    # Why: what would begin after it is in no log, and a shopper cut in two would look gone.
    sessions, shop = log.sessions(), reader().true_shop()
    end = shop.catalog.start_ms + shop.catalog.price.shape[0] * DAY_MS
    start = sessions.time_ms[sessions.offset[:-1]]
    count = torch.bincount(sessions.shopper)
    assert int(start.max()) < end and int(start.max()) > end - 2 * DAY_MS
    assert 1590 <= int(count.sum()) <= 1600 and int(count.max()) <= 6 and int(count.min()) == 1
    assert not any(log.meta["rows"][table]["set_aside"] for table in ("events", "impressions"))


def test_the_head_is_calibrated_in_the_shop_that_wrote_the_log(log: Log) -> None:
    # Why: an agent in the learned shop weighs a click against coming back at the head's odds. The
    # truth is the shop's own probability at the end of each session of other shoppers.
    shop = reader().true_shop()
    kinds = shop.catalog.num_categories
    head = fit_return_head(log.sessions(), shop.catalog.category, kinds)
    assert head is not None
    assert head.days.tolist() == pytest.approx([math.log(3.0), 0.8], abs=0.1)
    simulator = Simulator(shop, num_slots=SLOTS, num_sessions=6, expected_revenue=False)
    said: list[Tensor] = []
    clicks_BJ = torch.zeros(1500, kinds)

    def on_step(index: Tensor, state: SimState, __: Observation, outcome: Outcome) -> None:
        past = state.visit.past
        assert past is not None
        tally = past.tally.clone()
        tally[:, 0] += 1.0  # the page that is left, on which nothing else happens but repeats
        law = shop.returning(state.user, state.visit)  # type: ignore[attr-defined]
        group = shop.catalog.category[outcome.event.item]
        clicks_BJ[index] = head.count(clicks_BJ[index], group, outcome.event)
        read = torch.cat([summaries(tally, past.before, past.sessions), clicks_BJ[index]], -1)
        logit = read @ head.weight + head.bias
        both = torch.stack([torch.sigmoid(law.logit), torch.sigmoid(logit)], -1)
        said.append(both[outcome.left])

    seed = torch.arange(1500) + (9 << 32)
    spec = ObservationSpec(simulator, "history")
    rollout(spec, reader().logging_policy(shop), seed, torch.zeros_like(seed), on_step=on_step)
    true, found = torch.cat(said).T
    assert float(found.mean()) == pytest.approx(float(true.mean()), abs=0.04)
    order = found.argsort()
    for third in order.chunk(3):  # where it says more, there is more, and as much
        assert float(found[third].mean()) == pytest.approx(float(true[third].mean()), abs=0.06)
    assert float(torch.corrcoef(torch.stack([true, found]))[0, 1]) > 0.6


def test_a_learned_shop_plays_several_sessions_and_is_kept(tmp_path: Path) -> None:
    # Why: at a bias of 20 all come back, and at -20 nobody; the days are those of the head.
    model = learned_shop()
    model.return_head = ReturnHead(model.num_groups)
    model.return_head.bias += 20.0
    model.return_head.days = torch.tensor([math.log(4.0), 0.1])
    save_model(model, tmp_path / "model", {})
    again = load_model(tmp_path / "model")
    assert again.return_head is not None and torch.equal(
        again.return_head.days, model.return_head.days
    )
    ends: dict[float, list[Tensor]] = {}
    for sign in (1.0, -1.0):
        again.return_head.bias.mul_(sign)
        core = open_core(again, num_envs=64, num_slots=SLOTS, num_sessions=3)
        core.reset(0)
        ends[sign] = []
        for page in range(12):
            step = core.step((torch.arange(SLOTS) + 5 * page).expand(64, -1) % 40)
            last = step.final_observation.visit.past
            assert last is not None and bool((step.terminated <= step.outcome.left).all())
            ends[sign].append(last.sessions[step.terminated])
            away = last.away[last.sessions > 0]
            assert bool(((away > 2.5) & (away < 6.5)).all())
    assert set(torch.cat(ends[1.0]).tolist()) == {2} and set(torch.cat(ends[-1.0]).tolist()) == {0}
