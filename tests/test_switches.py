"""recgym.users.switches: what a fit may do beside likelihood bends no rate and no target."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from probe_shop import learned_shop
from simulated_log import logging_policy, simulate
from torch import nn

from recgym.errors import UserError
from recgym.settings import check
from recgym.simulator import Simulator
from recgym.types import After, Event, Kind, Sessions, Split
from recgym.users.epochs import Epochs
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import cart_counts, gather_steps, log_prob
from recgym.users.lstm import LSTMUserModel
from recgym.users.passes import expectations_of_all
from recgym.users.sessions import rows_of, steps_of
from recgym.users.store import load_model, save_model
from recgym.users.switches import (
    add_adversary,
    events_read,
    outcome_weights,
    prior_shift,
    unweighted,
)
from recgym.users.training import fit
from recgym.worlds.taste import TasteShop

ITEMS = 12


def events_of(after: list[After], others: int = 0) -> Event:
    """Views that these outcomes followed, and steps of leaving."""
    none = torch.zeros(len(after) + others)
    kind = torch.full_like(none, int(Kind.LEAVE), dtype=torch.int64)
    kind[: len(after)] = int(Kind.VIEW)
    followed = torch.zeros_like(kind)
    followed[: len(after)] = torch.tensor([int(a) for a in after])
    return Event(kind, kind, kind, followed, none, none, none)


TEN = [After.NOTHING] * 8 + [After.CART, After.BUY]


def test_weights_of_outcomes_by_hand() -> None:
    # Why: of ten views eight lead to nothing, one to a cart and one to a sale; none to a favourite.
    # Raw weights are 1/8, 1/8 (as the most frequent), 1 and 1, of which the mean over views is
    # 8/8 + 1 + 1 over 10, or 0.3. Those who leave view nothing, and do not count.
    weight_4 = outcome_weights(events_of(TEN, others=5), 1.0)
    assert weight_4.tolist() == pytest.approx([1 / 2.4, 1 / 2.4, 10 / 3, 10 / 3])
    root_4 = outcome_weights(events_of(TEN), 0.5)
    assert float(root_4[3] / root_4[0]) == pytest.approx(math.sqrt(8))
    assert outcome_weights(events_of(TEN), 0.0).tolist() == [1.0] * 4


def test_the_lift_of_the_weights_by_hand() -> None:
    # Why: levels are brought back by it. A sale weighs 10/3, and what else may happen, on average
    # over eight times nothing and one cart, 0.741: odds of 1 : 9 are taken for 1 : 2. A cart is
    # then compared with nothing alone, eight times lighter.
    event = events_of(TEN)
    buy, cart, favourite = prior_shift(event, outcome_weights(event, 1.0)).tolist()
    assert buy == pytest.approx(math.log((1 / 2) / (1 / 9)))
    assert cart == pytest.approx(math.log(8)) and favourite == pytest.approx(0.0)


class Log(NamedTuple):
    shop: TasteShop
    sessions: Sessions


@pytest.fixture(scope="module")
def log() -> Log:
    shop = TasteShop(
        num_items=ITEMS, num_categories=3, intent_leave=(-0.2, -0.7, -0.7), buy=-2.5, cart=-2.5
    )
    simulator = Simulator(shop, num_slots=2, expected_revenue=False)
    return Log(shop, simulate(simulator, logging_policy(shop, 2), 400)[0])


def untrained(
    log: Log, *, tied: bool = True, seen: int = ITEMS, segments: int = 2
) -> LSTMUserModel:
    torch.manual_seed(0)
    row_B = rows_of(log.sessions, Split.TRAIN)
    return LSTMUserModel(
        log.shop.catalog, torch.arange(ITEMS) < seen, log.sessions.profile[row_B],
        log.sessions.time_ms[log.sessions.offset[:-1]][row_B],
        hidden=6, embedding=4, classes=2, segments=segments, tied=tied,
    )  # fmt: skip


def rates(model: LSTMUserModel, sessions: Sessions) -> list[tuple[float, float]]:
    """Sales, then carts among what was not bought, and how many of each the model expects there."""
    row_B = rows_of(sessions, Split.TRAIN, Split.VALID)
    step_n = steps_of(sessions, row_B)
    event_n = sessions.event.lanes(step_n)
    expected = expectations_of_all(model, sessions, cart_counts(sessions), row_B).lanes(step_n)
    viewed_n = event_n.kind == int(Kind.VIEW)
    chance_n, cart_n = (expected.after[:, int(after)] for after in (After.BUY, After.CART))
    left_n = viewed_n & (event_n.after != int(After.BUY))
    return [
        (float((event_n.after[of_n] == int(after)).sum()), float(expected_n[of_n].sum()))
        for after, of_n, expected_n in (
            (After.BUY, viewed_n, chance_n),
            (After.CART, left_n, cart_n / (1.0 - chance_n)),
        )
    ]


def test_rates_are_right_after_a_fit_with_weights(log: Log) -> None:
    # Why: a simulator samples from its rates, and money is proportional to them. Weights of equal
    # say are gone from the levels, to a percent, which without that would sell far too much. By
    # hand 118 of 844 views are bought, odds of 0.1625, which the weights lift by e^0.6695: 203.4
    # sales; 64 of the other 726 are carted, lifted 5 times: 236.6. A model that tells shoppers
    # apart has a few less, as chances bend: one of one segment.
    model = untrained(log, segments=1)
    settings = FitSettings(epochs=2, batch_steps=256, least_updates=5, learning_rate=1e-2, rare=1.0)
    fit(model, log.sessions, settings, seed=0)
    found = rates(model, log.sessions)
    for happened, expected in found:
        assert happened > 50 and expected == pytest.approx(happened, rel=0.01)
    train_B = rows_of(log.sessions, Split.TRAIN)
    event = log.sessions.event.lanes(steps_of(log.sessions, train_B))
    with torch.no_grad(), unweighted(model, -prior_shift(event, outcome_weights(event, 1.0))):
        for (_, expected), by_hand in zip(rates(model, log.sessions), (203.4, 236.6), strict=True):
            assert 0.85 * by_hand < expected < by_hand
    assert rates(model, log.sessions) == found  # and all is as it was


def test_masked_events_are_hidden_from_the_memory_and_still_predicted(log: Log) -> None:
    # Why: a target that vanished would change rates, and one that read itself would be no target.
    # Events at step 1 are hidden: what comes up to that step is as it was, what follows is not.
    model = untrained(log).eval()
    steps = gather_steps(log.sessions, cart_counts(log.sessions), torch.arange(40))
    with torch.no_grad():
        plain = log_prob(model, steps).total()
        hidden = log_prob(model, steps, read_n=steps.number != 1).total()
    early_n = steps.number <= 1
    assert torch.equal(plain[early_n], hidden[early_n]) and bool(early_n.any())
    assert bool((plain[steps.number == 2] != hidden[steps.number == 2]).any())


def test_masks_are_drawn_only_where_they_are_asked_for() -> None:
    # Why: a number drawn for nothing would change the order of batches of every fit.
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert events_read(10, 0.0, generator) is None and torch.equal(generator.get_state(), before)
    read_n = events_read(10_000, 0.3, generator)
    assert read_n is not None and float(read_n.double().mean()) == pytest.approx(0.7, abs=0.02)
    everything = events_read(5, 1.0, generator)
    assert everything is not None and not everything.any()


def test_an_adversary_by_hand() -> None:
    # Why: half the square of (3, 4) has the gradient (3, 4), along which a step of 1 leads to
    # (3.6, 4.8), of which half the square is 18. Both gradients count, and the vector is back.
    vector = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))

    def loss_of() -> torch.Tensor:
        return 0.5 * vector.square().sum()

    loss_of().backward()
    there = add_adversary(vector, loss_of, 1.0)
    assert float(there.detach()) == pytest.approx(18.0)
    assert vector.grad is not None and vector.grad[0].tolist() == pytest.approx([6.6, 8.8])
    assert vector.tolist() == [[3.0, 4.0], [0.0, 0.0]]  # a row without a gradient has no way to go


def test_the_last_epochs_run_without_masks_and_adversary(log: Log) -> None:
    # Why: rates of the model as it will be used are those of a fit without noise. With no epoch
    # but calm ones, both change nothing; and else both do.
    def moved(**settings: float) -> torch.Tensor:
        model, sessions = untrained(log), log.sessions
        train_B = rows_of(sessions, Split.TRAIN)[:20]
        chosen = FitSettings(epochs=1, least_updates=1, **settings)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(0)
        Epochs(model, sessions, chosen, train_B, train_B, generator).run()
        return torch.cat([value.flatten() for value in model.parameters()])

    plain = moved(calm_share=1.0)
    assert torch.equal(plain, moved(calm_share=1.0, mask=0.5, adversary=0.1))
    torch.manual_seed(0)
    noisy = moved(calm_share=0.0)
    torch.manual_seed(0)
    assert not torch.equal(noisy, moved(calm_share=0.0, mask=0.5))
    torch.manual_seed(0)
    assert not torch.equal(noisy, moved(calm_share=0.0, adversary=0.1))


def test_untied_items_are_read_by_vectors_of_their_own(log: Log, tmp_path: Path) -> None:
    # Why: what the memory tells items apart by must move no appeal, and an item that training never
    # met is read by its category and features as before.
    tied, apart = untrained(log), untrained(log, tied=False, seen=ITEMS - 1)
    assert "items.read" not in tied.state_dict()
    assert torch.equal(tied.tables.input_IX[:, :-1], tied.tables.vector_ID)
    read_ID, vector_ID = apart.tables.input_IX[:, :-1], apart.tables.vector_ID
    assert bool((read_ID[:-1] != vector_ID[:-1]).all()) and torch.equal(read_ID[-1], vector_ID[-1])
    before = float(apart.penalty().detach())
    with torch.no_grad():
        assert apart.items.read is not None
        square = float(apart.items.read.square().sum())
        apart.items.read.zero_()
        apart.prepare()
    assert torch.equal(apart.tables.vector_ID, vector_ID)
    # the prior is that of the other free part: half the square over 0.5 squared
    assert before - float(apart.penalty().detach()) == pytest.approx(2.0 * square, rel=1e-4)
    save_model(apart, tmp_path / "model", {})
    assert torch.equal(load_model(tmp_path / "model").tables.input_IX, apart.eval().tables.input_IX)


def test_untied_items_are_fitted(log: Log) -> None:
    # Why: a table that no gradient reaches would be noise that the memory reads.
    model = untrained(log, tied=False)
    steps = gather_steps(log.sessions, cart_counts(log.sessions), torch.arange(40))
    (-log_prob(model.train(), steps).total().mean()).backward()
    assert model.items.read is not None and model.items.read.grad is not None
    assert float(model.items.read.grad.abs().sum()) > 0
    assert learned_shop().settings["tied"] is True


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"mask": 1.5}, "mask=1.5: expected a number from 0 to 1"),
        ({"rare": -0.1}, "rare=-0.1: expected a number from 0 to 1"),
        ({"adversary": -1}, "adversary=-1: expected a number of at least 0"),
        ({"focal": 2.0}, "focal is no setting: expected adversary, batch_steps"),
    ],
)
def test_a_switch_out_of_bounds_is_refused_in_a_sentence(
    setting: dict[str, float], words: str
) -> None:
    # Why: a mask of everything and more would be drawn, and fit something else.
    with pytest.raises(UserError, match=rf"user_model\.fit\.{words}"):
        check("user_model.fit", setting, FitSettings)
