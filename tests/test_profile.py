"""recgym.logs.profiles and users.profile: what is known of a shopper, coded and fused."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from family import F64, SMALL, log_of, played, settings_of, stepwise
from log_files import event, write_parquet
from tiny import compose
from torch import Tensor

from recgym.build import build, check_settings
from recgym.errors import UserError
from recgym.logs.folder import Folder
from recgym.logs.log import Log
from recgym.types import Field, Sessions
from recgym.users.likelihood import cart_counts, expectations, gather_steps, log_prob
from recgym.users.lstm import LSTMUserModel
from recgym.users.profile import Attention, Gating, Tokens, centre_and_spread
from recgym.users.sequence import SequenceModel
from recgym.users.store import load_model, save_model
from recgym.worlds.taste import TasteShop

SESSIONS, ITEMS = 12, 40
FIELDS = [
    Field("age", None, True),
    Field("city", ["Ulm", "Kiel"], True),
    Field("score"),
    Field("income", None, True),  # which no training session knew
]
# age, its gap; Ulm, Kiel, another; score; income, its gap
TRAINED = torch.tensor(
    [[30, 0, 1, 0, 0, 1, 70, 1], [50, 0, 0, 1, 0, 2, 70, 1], [40, 1, 0, 0, 0, 3, 70, 1]]
).float()
FUSED = ["concatenation", "gating", "attention"]
INPUTS = ["brand", "relative_price", "weekday", "position"]
EVENT = {"shopper": "VARCHAR", "session": "VARCHAR", "time": "BIGINT", "event": "VARCHAR",
         "item": "VARCHAR", "price": "DOUBLE"}  # fmt: skip


def made(fusion: str, inputs: list[str] | None = None, seed: int = 0) -> SequenceModel:
    """An untrained LSTM with fields of every kind, its parameters away from where they begin."""
    catalog = TasteShop(num_items=ITEMS).catalog
    torch.manual_seed(seed)
    model: SequenceModel = build(
        settings_of("lstm") | {"fusion": fusion, "inputs": inputs or []},
        catalog=catalog,
        seen_I=torch.ones(ITEMS, dtype=torch.bool),
        profile_BP=TRAINED,
        start_ms_B=catalog.start_ms + torch.arange(3) * 3_600_000,
        fields=FIELDS,
    )
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    model.project()
    return model.to(F64).eval()


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    """Some, of shoppers of all three profiles."""
    whole = log_of(SESSIONS)
    return dataclasses.replace(whole, profile=TRAINED[torch.arange(SESSIONS) % 3].double())


@torch.no_grad()
@pytest.mark.parametrize(
    ("fusion", "inputs"),
    [("concatenation", INPUTS), ("gating", []), ("attention", ["weekday", "brand"])],
)
def test_every_fusion_and_every_input_keeps_the_protocol(
    fusion: str, inputs: list[str], sessions: Sessions, tmp_path: Path
) -> None:
    # Why: what a fit reads of a log must be what the simulator reads of a running session; batches
    # are a matter of speed; and a model must come back from its folder with all that it reads.
    model, cart_S = made(fusion, inputs), cart_counts(sessions)
    steps = gather_steps(sessions, cart_S, torch.arange(SESSIONS))
    total_S = torch.zeros(len(steps.step), dtype=F64)
    total_S[steps.step] = log_prob(model, steps).total()
    longest = int(sessions.offset.diff().argmax())
    for b in {longest, 1}:
        first, last = int(sessions.offset[b]), int(sessions.offset[b + 1])
        expected = stepwise(model, sessions, b)
        torch.testing.assert_close(total_S[first:last], expected, rtol=0, atol=1e-9)
        alone = gather_steps(sessions, cart_S, torch.tensor([b]))
        value = log_prob(model, alone).total()
        torch.testing.assert_close(total_S[alone.step], value, rtol=0, atol=1e-10)
    save_model(model, tmp_path / "model", {})
    again = load_model(tmp_path / "model")
    assert again.settings == model.settings and again.settings["fusion"] == fusion
    assert again.settings["inputs"] == inputs and Field(*again.settings["fields"][1]) == FIELDS[1]
    for ours, theirs in zip(played(model, 8, 3), played(again, 8, 3), strict=True):
        assert torch.equal(ours, theirs)


def begun(model: SequenceModel, *changes: dict[int, float]) -> Tensor:
    """What is said of the first shopper, with these entries of the profile changed, [., H]."""
    profile_NP = TRAINED[:1].double().repeat(len(changes), 1)
    for row, change in enumerate(changes):
        for entry, value in change.items():
            profile_NP[row, entry] = value
    arrival = model.arrive(*torch.zeros(2, len(changes), dtype=torch.int64))
    with torch.no_grad():
        state = model.init_state(dataclasses.replace(arrival, profile=profile_NP))
        return model.wide(state)


@pytest.mark.parametrize("fusion", FUSED)
def test_a_field_that_only_the_test_period_fills_is_read_as_missing(fusion: str) -> None:
    # Why: divided by a spread of 0 it would drown all else, and no weight was ever fitted to it.
    model = made(fusion)
    without, with_income = begun(model, {}, {6: 9000.0, 7: 0.0})
    assert torch.equal(without, with_income) and bool(without.isfinite().all())


@pytest.mark.parametrize("fusion", ["gating", "attention"])
def test_missing_other_and_average_are_three_things(fusion: str) -> None:
    # Why: who does not tell an age is no shopper of the mean age, and a city met for the first
    # time is not one that was not told.
    model = made(fusion)
    ages = begun(model, {0: 40.0}, {0: 40.0, 1: 1.0}, {0: 47.0, 1: 1.0})
    assert float((ages[0] - ages[1]).abs().max()) > 1e-3
    assert torch.equal(ages[1], ages[2])  # what fills a gap says nothing
    cities = begun(model, {}, {2: 0.0, 3: 1.0}, {2: 0.0, 4: 1.0}, {2: 0.0})
    for one in range(4):
        for other in range(one):
            assert float((cities[one] - cities[other]).abs().max()) > 1e-3


@pytest.mark.parametrize("fusion", ["gating", "attention"])
def test_what_training_never_lacks_is_learned_from_what_is_hidden(
    fusion: str, sessions: Sessions
) -> None:
    # Why: else a value first missing in the test period would be read by weights as they began.
    # The score is never missing and no city is another one; a calm fit hides nothing.
    model = made(fusion)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(SESSIONS))
    expected = expectations(model, steps)

    def gradients() -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        model.zero_grad()
        model.prepare()
        log_prob(model, steps, expected).total().sum().backward()  # type: ignore[no-untyped-call]
        tokens: Any = model.fusion.tokens
        return tokens.missing.grad[2], tokens.row.grad[4]  # of the score, of other cities

    model.dropout.p = 0.3
    for training, taught in ((True, True), (False, False)):
        model.train()
        model.dropout.train(training)
        assert all(bool((g != 0).any()) == taught for g in gradients())


@torch.no_grad()
def test_a_fields_vector_is_what_its_equations_say() -> None:
    # Why: by hand, with E = 1. Ages 30 and 40 stand 1 below and 1 above 35 (spread 5): with slope 2
    # and intercept 10 they are 8 and 12, and missing is 7. Levels are their rows, others 5.
    fields = [Field("age", None, True), Field("city", ["Ulm", "Kiel"], True)]
    profile = torch.tensor([[30.0, 0, 1, 0, 0], [40, 0, 0, 1, 0], [35, 1, 0, 0, 0]])
    tokens = Tokens(fields, profile, 1)
    tokens.row.copy_(torch.tensor([[2.0], [10], [3], [4], [5]]))
    tokens.missing.copy_(torch.tensor([[7.0], [6]]))
    standard = (profile - torch.tensor([35.0, 0, 0, 0, 0])) / torch.tensor([5.0, 1, 1, 1, 1])
    assert tokens(profile, standard, 0.0).squeeze(-1).tolist() == [[8, 3], [12, 4], [7, 6]]
    other = torch.tensor([[30.0, 0, 0, 0, 1]])
    assert tokens(other, other, 0.0)[0, 1].tolist() == [5]
    hidden = tokens(profile, standard, 1.0).squeeze(-1)  # all of it
    assert hidden.tolist() == [[7, 6]] * 3


def test_an_entry_that_never_moved_says_nothing() -> None:
    # Why: by hand. 1 and 3 lie 1 from their mean; of what is 5 in all training sessions, 6 is no
    # million standard deviations away.
    centre, spread = centre_and_spread(torch.tensor([[1.0, 5], [3, 5]]))
    assert ((torch.tensor([3.0, 6.0]) - centre) / spread).tolist() == [1.0, 0.0]


@torch.no_grad()
def test_gates_and_shares_are_what_their_equations_say() -> None:
    # Why: by hand, with E = H = 1, tokens 1 and 2 and values twice that. Gates of 0 and ln 3 are
    # 1/2 and 3/4: 1 + 3 = 4. A state of ln 3 that the first gate alone reads makes it 3/4: 4.5,
    # which is added. A query of ln 2 scores ln 2 and ln 4, shares 1/3 and 2/3: 10/3, and no state.
    fields, profile = [Field("a"), Field("b")], torch.zeros(2, 2)
    token_NFE = torch.tensor([[[1.0], [2.0]]])
    gating = Gating(fields, profile, hidden=1, size=1)
    attention = Attention(fields, profile, hidden=1, size=1)
    for fusion in (gating, attention):
        fusion.value.weight.fill_(2.0)
        fusion.added.weight.fill_(1.0)
        fusion.value.bias.zero_()
        fusion.added.bias.zero_()
    gating.gate.weight.zero_()
    gating.gate.bias.copy_(torch.tensor([0.0, math.log(3.0)]))
    gating.of_state.weight.copy_(torch.tensor([[1.0], [0.0]]))
    assert float(gating.mix(token_NFE, 0.0)) == pytest.approx(4.0)
    state = torch.tensor([[math.log(3.0)]])
    enriched = gating.enrich(state, token_NFE.flatten(1))
    assert float(enriched) == pytest.approx(math.log(3.0) + 4.5)
    attention.key.weight.fill_(1.0)
    attention.query.fill_(math.log(2.0))
    assert float(attention.mix(token_NFE, 0.0)) == pytest.approx(10 / 3, abs=1e-6)
    attention.of_state.weight.fill_(-1.0)  # a state of ln 2 takes the query away: half of each
    enriched = attention.enrich(torch.tensor([[math.log(2.0)]]), token_NFE.flatten(1))
    assert float(enriched) == pytest.approx(math.log(2.0) + 3.0, abs=1e-6)


def people_log(folder: Path) -> Log:
    """Ten shoppers of whom the last two come after training, and what is known of them."""
    folder.mkdir()
    rows = [
        event(s, s, 9000 * (i + 1), "view", "AB"[i % 2], 10) for i, s in enumerate("abcdefghij")
    ]
    rows = [{**row, "time": row["time"] * 1000} for row in rows]
    write_parquet(folder / "events.parquet", rows, EVENT)
    told: list[tuple[str, int | None, str | None, float | None]] = [
        ("a", 20, "Ulm", None), ("b", None, "Kiel", None), ("c", 40, "Ulm", None),
        ("i", 60, "Bonn", 5.0), ("j", 40, "Ulm", None),
    ]  # fmt: skip
    people = [dict(zip(("shopper", "age", "city", "income"), row, strict=True)) for row in told]
    types = {"shopper": "VARCHAR", "age": "BIGINT", "city": "VARCHAR", "income": "DOUBLE"}
    write_parquet(folder / "shoppers.parquet", people, types)
    return Folder(path=str(folder)).clean(folder.parent / "clean")


def test_profiles_are_coded_by_what_training_shows(tmp_path: Path) -> None:
    # Why: by hand, of ages 20, 40, 60 and 40. Bonn is met after training only: it is "another
    # city", as is any later one; of d nothing is known; gaps of numbers hold the mean of the known,
    # 40 and 5, and say so.
    log = people_log(tmp_path / "shop")
    assert log.fields() == [
        Field("age", None, True), Field("city", ["Ulm", "Kiel"], True), Field("income", None, True)
    ]  # fmt: skip
    sessions = log.sessions()
    assert sessions.profile[[0, 1, 3, 8, 9]].tolist() == [
        [20, 0, 1, 0, 0, 5, 1],
        [40, 1, 0, 1, 0, 5, 1],
        [40, 1, 0, 0, 0, 5, 1],
        [60, 0, 0, 0, 1, 5, 0],
        [40, 0, 1, 0, 0, 5, 1],
    ]


def test_a_model_of_before_the_settings_loads_as_it_was(tmp_path: Path) -> None:
    # Why: a fit takes minutes, and a setting that it never had is no reason to repeat it.
    model = made("concatenation")
    save_model(model, tmp_path / "model", {})
    file = tmp_path / "model" / "model.json"
    description = json.loads(file.read_text())
    for name in ("fusion", "inputs", "fields"):
        del description["settings"][name]
    file.write_text(json.dumps(description))
    for ours, theirs in zip(played(model, 8), played(load_model(file.parent), 8), strict=True):
        assert torch.equal(ours, theirs)


def test_the_profile_of_another_log_ends_in_a_sentence() -> None:
    # Why: three numbers would be read as one of eight, or end in a traceback of shapes.
    model = made("gating")
    arrival = model.arrive(*torch.zeros(2, 1, dtype=torch.int64))
    other = dataclasses.replace(arrival, profile=torch.zeros(1, 3))
    with pytest.raises(UserError, match=r"profile of 3 entries met a user model.*fitted to 8"):
        model.init_state(other)


def test_settings_of_no_use_end_in_a_sentence() -> None:
    # Why: found before a log is read; or, where the log decides, before a fit.
    for setting, words in (
        ("fusion=sum", "fusion=sum: expected one of concatenation, gating, attention"),
        ("inputs=[brand,colour]", "inputs=.*colour.*: expected .*one of brand, relative_price"),
    ):
        chosen = compose("fit", f"user_model.model.{setting}")["user_model"]["model"]
        with pytest.raises(UserError, match=words):
            check_settings("user_model.model", chosen)
    catalog = TasteShop(num_items=ITEMS).catalog
    bare = dataclasses.replace(catalog, priced=False, feature=catalog.feature[:, :1])
    seen, start, none = torch.ones(ITEMS).bool(), torch.zeros(2).long(), torch.zeros(2, 0)
    for given, words in (
        ({"inputs": ["brand"]}, "inputs names brand, and the log holds no brands"),
        ({"inputs": ["relative_price"]}, "names relative_price, and the log holds no prices"),
        ({"fusion": "gating"}, "fusion=gating fuses what is known of shoppers"),
        ({"fields": FIELDS}, "age, city, score, income have 8 entries, and the profile 0"),
    ):
        settings: dict[str, Any] = {**SMALL, **given}
        with pytest.raises(UserError, match=words):
            LSTMUserModel(bare, seen, none, start, **settings)
