"""recgym.users.propensities: what a logging policy knew beyond its log is weighed out of a fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import compose
from torch import Tensor

from recgym.stages.log import open_reader
from recgym.types import After, Catalog, Event, Kind, Page, Sessions, Split
from recgym.users.centring import centre
from recgym.users.fit_settings import FitSettings
from recgym.users.likelihood import (
    Steps,
    cart_counts,
    expectations,
    gather_steps,
    log_prob,
    run,
    walked,
)
from recgym.users.lstm import LSTMUserModel
from recgym.users.passes import expectations_of_all
from recgym.users.propensities import effective_share, slot_weights, told_beyond, weighed
from recgym.users.sessions import rows_of
from recgym.users.training import fit
from recgym.users.wrong import PageBlind

COUNT, ITEMS = 4000, 4
# two kinds of shoppers, whom no record tells apart, like two items each: of a page of one slot
# these are clicked by half of them, and the others by one in ten
LIKED, OTHERS = 0.5, 0.1
BLIND = (LIKED + OTHERS) / 2
CATALOG = Catalog(
    price=torch.full((1, ITEMS), 10.0),
    category=torch.tensor([0, 0, 1, 1]),
    feature=torch.eye(ITEMS),
    start_ms=0,
    num_categories=2,
)


def logged(seeing: float, *, seed: int = 0) -> tuple[Sessions, Tensor]:
    """Sessions of one page whose policy shows what is liked with this chance, and propensities."""
    generator = torch.Generator().manual_seed(seed)

    def below(chance: Tensor | float) -> Tensor:
        return torch.rand(COUNT, generator=generator) < chance

    kind_B, likes_B, second_B = below(0.5).long(), below(seeing), below(0.5).long()
    shown_B = 2 * torch.where(likes_B, kind_B, 1 - kind_B) + second_B
    clicked_B = below(torch.where(likes_B, LIKED, OTHERS))
    found_B = torch.randint(ITEMS, (COUNT,), generator=generator)
    leave_B, none_B = torch.full_like(kind_B, int(Kind.LEAVE)), torch.full_like(kind_B, -1)
    in_turn = [
        torch.stack(two, -1).flatten()
        for two in (
            (torch.full_like(kind_B, int(Kind.VIEW)), leave_B),
            (torch.where(clicked_B, shown_B, found_B), none_B),
            (torch.where(clicked_B, 0, -1), none_B),
            (shown_B, shown_B),
        )
    ]
    zero_S = torch.zeros(2 * COUNT)
    chance_B = torch.where(likes_B, seeing, 1.0 - seeing) / 2
    sessions = Sessions(
        event=Event(*in_turn[:3], torch.full_like(in_turn[0], int(After.NOTHING)),
                    torch.where(in_turn[1] >= 0, 10.0, 0.0), zero_S, zero_S),
        page=Page(in_turn[3].unsqueeze(-1), torch.full((2 * COUNT, 1), 10.0)),
        time_ms=torch.zeros(2 * COUNT, dtype=torch.int64),
        offset=torch.arange(0, 2 * COUNT + 1, 2),
        shopper=torch.arange(COUNT),
        profile=torch.zeros(COUNT, 0),
        split=torch.full((COUNT,), int(Split.TRAIN)).where(torch.arange(COUNT) % 10 > 0, 1),
    )  # fmt: skip
    return sessions, chance_B.repeat_interleave(2).unsqueeze(-1)


SESSIONS, CHANCE = logged(0.8)
TRAIN = rows_of(SESSIONS, Split.TRAIN)


def test_weights_by_hand() -> None:
    # Why: an item is shown with a chance of 0.4 to whom it pleases and of 0.1 to others, and at
    # random one in four times: 0.25 / 0.4 and 0.25 / 0.1.
    weight_SK = slot_weights(SESSIONS, CATALOG, CHANCE, TRAIN, most=10.0)
    pleased_SK = CHANCE > 0.2
    assert weight_SK[pleased_SK].mean().item() == pytest.approx(0.625, rel=0.04)
    assert weight_SK[~pleased_SK].mean().item() == pytest.approx(2.5, rel=0.04)
    clicked_S1 = (SESSIONS.event.slot == 0).float().unsqueeze(-1)[::2]
    assert clicked_S1.mean().item() > 0.38
    weighed_rate = (weight_SK[::2] * clicked_S1).sum() / weight_SK[::2].sum()
    assert weighed_rate.item() == pytest.approx(BLIND, abs=0.025)


def test_no_weight_is_larger_than_allowed() -> None:
    # Why: of ratios 4 : 1 with the mean of logs foreseen, 0.4^0.8 0.1^0.2 = 0.303, weights are
    # 0.758 and 3.03; cut at 1 they have a mean of 0.806.
    weight_SK = slot_weights(SESSIONS, CATALOG, CHANCE, TRAIN, most=1.0)
    assert weight_SK.max().item() == pytest.approx(1.0 / 0.806, rel=0.02)


def test_a_slot_without_a_propensity_weighs_as_the_mean() -> None:
    chance_SK = CHANCE.clone()
    chance_SK[:1000] = torch.nan
    weight_SK = slot_weights(SESSIONS, CATALOG, chance_SK, TRAIN, most=10.0)
    assert bool((weight_SK[:1000] == 1.0).all())
    assert weight_SK[1000:].mean().item() == pytest.approx(1.0, abs=1e-5)
    none_SK = slot_weights(SESSIONS, CATALOG, chance_SK * torch.nan, TRAIN, most=10.0)
    assert bool((none_SK == 1.0).all())


def test_the_effective_share_by_hand() -> None:
    # Why: weights 1 and 3 count as (1 + 3)^2 / (1 + 9) = 1.6 of two; what is not shown, not at all.
    weight_SK = torch.tensor([[1.0, 3.0, 50.0]])
    shown_SK = torch.tensor([[True, True, False]])
    assert effective_share(weight_SK, shown_SK) == pytest.approx(0.8)


def test_propensities_tell_where_the_policy_saw_more() -> None:
    slope = told_beyond(SESSIONS, CATALOG, CHANCE, TRAIN)
    # log propensities of 0.4 and 0.1 lie 1.39 apart, rates 0.4 around a mean of 0.42
    assert slope.low is not None and 0.4 < slope.low < 0.4 / 0.42 / 1.386 < (slope.high or 0.0)


@pytest.mark.parametrize("random", [True, False])
def test_propensities_tell_nothing_where_it_did_not(random: bool) -> None:
    # Why: one that draws at random, and one whose chances are moved by what nobody likes more for.
    sessions, chance_SK = logged(0.5)
    if not random:
        noise_SK = torch.rand(chance_SK.shape, generator=torch.Generator().manual_seed(2))
        chance_SK = chance_SK * (0.5 + noise_SK)
    slope = told_beyond(sessions, CATALOG, chance_SK, TRAIN)
    assert slope.low is not None and slope.high is not None
    assert slope.low <= 0.0 <= slope.high < 0.3
    read, said = weighed(sessions, CATALOG, chance_SK, TRAIN, FitSettings(), 0)
    assert read.page.weight is None and said is not None and not said["weighed"]
    read, said = weighed(sessions, CATALOG, chance_SK, TRAIN, FitSettings(propensities="always"), 0)
    assert read.page.weight is not None and said is not None and said["weighed"]


@pytest.mark.parametrize(("world", "seen"), [("confounded", True), ("default", False)])
def test_a_true_shops_log_is_weighed_where_its_policy_saw_taste(
    tmp_path: Path, world: str, seen: bool
) -> None:
    # Why: honest policies follow views, popularity and chance, mixed; none of it is hidden taste.
    settings = compose("train", f"world={world}", "world.num_items=100")["log"]
    reader = open_reader({**settings, "num_sessions": 500, "num_slots": 6})
    log = reader.clean(tmp_path / "log")
    sessions = log.sessions()
    given = sessions, log.catalog(), log.propensities(), rows_of(sessions, Split.TRAIN)
    _, said = weighed(*given, FitSettings(), 0)
    assert said is not None and said["weighed"] == seen
    assert 0.2 < said["effective_share"] < 0.9 if seen else said["effective_share"] == 1.0


def test_nothing_is_said_without_propensities() -> None:
    assert weighed(SESSIONS, CATALOG, None, TRAIN, FitSettings(), 0) == (SESSIONS, None)
    never = FitSettings(propensities="never")
    assert weighed(SESSIONS, CATALOG, CHANCE, TRAIN, never, 0) == (SESSIONS, None)


def test_a_model_that_reads_no_pages_reads_no_weights() -> None:
    read, _ = weighed(SESSIONS, CATALOG, CHANCE, TRAIN, FitSettings(), 0)
    assert read.page.weight is not None and PageBlind.sees(read).page.weight is None


def test_what_slots_tell_is_what_they_weigh_less_by() -> None:
    # Why: what was shown to whom it pleases is likelier than foreseen, and where no propensity is
    # known nothing is told.
    chance_SK = CHANCE.clone()
    chance_SK[::4] = torch.nan
    read, _ = weighed(SESSIONS, CATALOG, chance_SK, TRAIN, FitSettings(propensities="always"), 0)
    weight_SK, told_SK = read.page.weight, read.page.told
    assert weight_SK is not None and told_SK is not None
    assert bool(told_SK[::4].isnan().all()) and not bool(told_SK[1::2].isnan().any())
    torch.testing.assert_close(told_SK[1::2], -weight_SK[1::2].log())
    told_n = told_SK[CHANCE > 0.2]  # to whom it pleases
    assert float(told_n.nanmean()) > 0.3 > 0.0 > float(told_SK[CHANCE < 0.2].nanmean())


@torch.no_grad()
def test_a_fit_unrolls_what_slots_tell_as_it_walks() -> None:
    # Why: expectations are met step by step and beliefs are summed at once; both read the pages.
    read, _ = weighed(SESSIONS, CATALOG, CHANCE, TRAIN, FitSettings(), 0)
    model = model_of(SESSIONS)
    model.tastes.told[1] = 0.0  # a precision of 1
    model.eval()
    steps = steps_of_some(read)
    met, once = walked(model, steps), run(model, steps, expectations(model, steps))
    one, other = once.reading.state.belief, met.reading.state.belief
    torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.covariance, other.covariance, rtol=0, atol=1e-5)
    told = dataclasses.replace(read.page, told=None)
    deaf = walked(model, steps_of_some(dataclasses.replace(read, page=told))).reading.state.belief
    assert float((deaf.mean - other.mean).abs().max()) > 0.05
    # and expectations of whole logs are those of each step, wherever it lies
    every_S = expectations_of_all(model, read, cart_counts(read), torch.arange(COUNT))
    some = expectations(model, steps)
    assert some.liked is not None and every_S.liked is not None
    torch.testing.assert_close(every_S.liked[steps.step], some.liked, rtol=0, atol=1e-5)
    torch.testing.assert_close(every_S.slot[steps.step], some.slot, rtol=0, atol=1e-5)


def model_of(sessions: Sessions) -> LSTMUserModel:
    torch.manual_seed(0)
    return LSTMUserModel(
        CATALOG, torch.ones(ITEMS, dtype=torch.bool), sessions.profile,
        sessions.time_ms[sessions.offset[:-1]],
        hidden=4, embedding=2, classes=2, segments=1, num_tastes=2,
    )  # fmt: skip


def with_weights(sessions: Sessions, weight_SK: Tensor) -> Sessions:
    return dataclasses.replace(sessions, page=dataclasses.replace(sessions.page, weight=weight_SK))


def steps_of_some(sessions: Sessions) -> Steps:
    return gather_steps(sessions, cart_counts(sessions), torch.arange(50))


def test_weights_scale_what_slots_teach_and_not_the_likelihood() -> None:
    # Why: the likelihood keeps its value, and places move a fit through their slots' mass alone.
    gradients, values = [], []
    for weight in (1.0, 3.0):
        model = model_of(SESSIONS)
        model.prepare()
        sessions = with_weights(SESSIONS, torch.full_like(CHANCE, weight))
        value = log_prob(model, steps_of_some(sessions)).choice.sum()
        value.backward()
        values.append(value.detach())
        gradients.append(model.answers.position.grad)
    assert torch.equal(values[0], values[1])
    assert gradients[0] is not None and gradients[1] is not None
    assert gradients[0][0].abs().item() > 0.1
    assert gradients[1][0].item() == pytest.approx(3.0 * gradients[0][0].item(), rel=1e-4)


def test_weighed_clicks_come_out_as_often_as_they_did() -> None:
    # Why: a fit's levels are brought to the weighed rate, and one of slots is not that of finds.
    weight_SK = slot_weights(SESSIONS, CATALOG, CHANCE, TRAIN, most=10.0)
    sessions = with_weights(SESSIONS, weight_SK)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(COUNT))
    model = model_of(sessions).eval()
    for _ in range(6):
        centre(model, steps.event, expectations(model, steps), steps.page.weight)
        model.eval()
    viewed_n = steps.event.kind == int(Kind.VIEW)
    chance_n, weight_n = expectations(model, steps).slot[viewed_n, 0], weight_SK[steps.step, 0]
    happened_n, weight_n = (steps.event.slot == 0)[viewed_n].float(), weight_n[viewed_n]
    expected, happened = ((weight_n * x_n).mean().item() for x_n in (chance_n, happened_n))
    assert expected == pytest.approx(happened, rel=0.01)
    assert happened_n.mean().item() > 1.2 * happened


def test_a_fit_foresees_clicks_on_random_pages() -> None:
    # Why: what it is all for. Of a log that shows what is liked, a fit takes 0.42 for the rate of
    # clicks; at random it is 0.30.
    random, _ = logged(0.5, seed=1)
    rates = []
    for propensities in ("never", "auto"):
        settings = FitSettings(
            epochs=2, least_updates=50, learning_rate=3e-2, propensities=propensities
        )
        read, _ = weighed(SESSIONS, CATALOG, CHANCE, TRAIN, settings, 0)
        model = model_of(SESSIONS)
        fit(model, read, settings, seed=0)
        every_B = torch.arange(COUNT)
        expected = expectations_of_all(model, random, cart_counts(random), every_B)
        rates.append(float(expected.slot[::2].mean()))
    happened = float((random.event.slot[::2] == 0).float().mean())
    assert rates[0] > happened + 0.08
    assert rates[1] == pytest.approx(happened, abs=0.03)
