"""recgym.stages: what has not changed is not made again, and what has changed is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from log_files import event, write_csv
from tiny import FIT, WORLD, compose

from recgym.errors import UserError
from recgym.logging_policy import LoggedPages, LoggingPolicy
from recgym.logs.base import ReaderBase
from recgym.logs.log import Log
from recgym.record import TrueShopLog
from recgym.stages import model as model_stage
from recgym.stages.log import check_priced, key_of, logging_policy, prepare_log
from recgym.stages.model import cart_paid, mean_quantity, prepare_members, prepare_model
from recgym.users.assumed import assumed_shop
from recgym.users.epochs import Epochs
from recgym.users.store import FIT as FIT_FOLDER
from recgym.users.store import load_model, read_description

CPU = torch.device("cpu")
SETTINGS = compose("train", *FIT, *WORLD, "log.num_sessions=150")
MODEL = {**SETTINGS["user_model"], "num_slots": 3}


def changed(**values: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SETTINGS["log"]), **values}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages") / "cache"


@pytest.fixture(scope="module")
def log(cache: Path) -> tuple[Log, ReaderBase]:
    log, reader, reused = prepare_log(SETTINGS["log"], cache, {})
    assert not reused
    return log, reader


def test_a_log_is_made_once(log: tuple[Log, ReaderBase], cache: Path) -> None:
    # Why: a second run must be accordingly faster.
    seconds: dict[str, float] = {}
    again, _, reused = prepare_log(SETTINGS["log"], cache, seconds)
    assert reused and again.folder == log[0].folder and again.meta == log[0].meta
    assert seconds["log"] < 1.0


@pytest.mark.parametrize("values", [{"seed": 1}, {"sharpness": 1.0}, {"session_gap_minutes": 20}])
def test_another_setting_is_another_log(
    log: tuple[Log, ReaderBase], cache: Path, values: dict[str, Any]
) -> None:
    # Why: a stale log under new settings would be believed.
    other, _, reused = prepare_log(changed(num_sessions=60, **values), cache, {})
    assert not reused and other.folder != log[0].folder


def test_where_a_log_lies_does_not_matter_but_what_it_holds_does(tmp_path: Path) -> None:
    # Why: a moved file is the same log, and a changed file under its old name is not.
    rows = [
        event(f"u{i % 7}", f"s{i}", 3600 * i, name, "ABC"[i % 3], 10, 1)
        for i in range(30)
        for name in ("view", "purchase")[: 1 + i % 2]
    ]
    settings = compose("train", "log=csv")["log"]
    found = []
    for name, content in (("a.csv", rows), ("b.csv", rows[:-5]), ("a.csv", rows[:-5])):
        (tmp_path / name).unlink(missing_ok=True)
        path = str(write_csv(tmp_path / name, content))
        log, _, reused = prepare_log({**settings, "path": path}, tmp_path / "cache", {})
        found.append((log.folder.name, reused))
    assert found[0][0] != found[2][0] and not found[2][1]


def test_a_fit_is_made_once_and_belongs_to_its_log(
    log: tuple[Log, ReaderBase], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: a model of another log, or of other settings, answers other questions, and one of another
    # version none.
    model, report, folder, reused = prepare_model(*log, MODEL, cache, CPU, {})
    assert not reused and not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    again, same, place, reused = prepare_model(*log, MODEL, cache, CPU, {})
    assert reused and place == folder and same == report
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    settings = {**MODEL, "seed": 1}
    assert prepare_model(*log, settings, cache, CPU, {})[2] != folder
    other, reader, _ = prepare_log(changed(num_sessions=80), cache, {})
    assert prepare_model(other, reader, MODEL, cache, CPU, {})[2] != folder
    monkeypatch.setattr(model_stage, "MODEL_VERSION", 0)
    assert prepare_model(*log, MODEL, cache, CPU, {})[2] != folder
    assert not [path.name for path in cache.iterdir() if path.name.startswith(".")]


def test_other_assumptions_need_no_other_fit(cache: Path) -> None:
    # Why: a fit takes minutes to hours, an assumption on what no fit can know takes seconds.
    bare, reader, _ = prepare_log(changed(num_sessions=80, impressions=False), cache, {})
    first, report, folder, reused = prepare_model(bare, reader, MODEL, cache, CPU, {})
    assert not reused and report["assumptions"]["rho"] == 0.3
    assumptions = {**MODEL["assumptions"], "rho": 0.9}
    settings = {**MODEL, "assumptions": assumptions, "num_slots": 2}
    other, said, place, reused = prepare_model(bare, reader, settings, cache, CPU, {})
    assert reused and place != folder and said["assumptions"]["rho"] == 0.9
    assert said["assumptions"]["num_slots"] == 2 and said["on_policy"] == report["on_policy"]
    assert not torch.equal(other.heads.of("clicked")[0], first.heads.of("clicked")[0])
    assert torch.equal(other.items.own, first.items.own)
    # from the fit within the folder, the very same shop again
    chosen = {name: MODEL["assumptions"][name] for name in ("rho", "page_share", "seed")}
    again = assumed_shop(load_model(folder / FIT_FOLDER), **chosen, num_slots=3)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert "assumptions" not in read_description(folder / FIT_FOLDER)["extra"]["report"]


def test_a_log_that_says_what_was_shown_needs_no_assumption(
    log: tuple[Log, ReaderBase], cache: Path
) -> None:
    # Why: there the response to showing is fitted, and another rho must change nothing at all.
    _, report, folder, _ = prepare_model(*log, MODEL, cache, CPU, {})
    settings = {**MODEL, "assumptions": {**MODEL["assumptions"], "rho": 0.9}}
    assert prepare_model(*log, settings, cache, CPU, {})[2:] == (folder, True)
    assert "assumptions" not in report and not (folder / FIT_FOLDER).exists()


def test_keys_do_not_depend_on_the_order_of_settings() -> None:
    # Why: two YAMLs that say the same share one fit.
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 2, "b": 1})


def test_the_logging_policy_is_the_mixture_or_the_pages_of_the_log(
    log: tuple[Log, ReaderBase], tmp_path: Path, cache: Path
) -> None:
    # Why: the on-policy check simulates it; a log from elsewhere gives its pages alone.
    made, reader = log
    assert isinstance(reader, TrueShopLog)
    assert isinstance(logging_policy(made, reader, reader.true_shop()), LoggingPolicy)
    assert isinstance(logging_policy(made, ReaderBase(), None), LoggedPages)
    bare, reader, _ = prepare_log(changed(num_sessions=60, impressions=False), cache, {})
    assert logging_policy(bare, reader, None) is None


def test_carts_by_hand(tmp_path: Path) -> None:
    # Why: greedy and DQN value a cart by it. Three items are carted, two of them paid by one
    # checkout: 2/3; the pieces are 1, 2, 3 and 2 (bought at once): 2 on average.
    rows = []
    for number, (name, item, quantity) in enumerate(
        [("view", "A", 1), ("cart", "A", 1), ("view", "B", 1), ("cart", "B", 2),
         ("view", "C", 1), ("purchase", "A", 1), ("purchase", "B", 2)]
    ):  # fmt: skip
        rows.append(event("u", "s", 10 * number, name, item, 10, quantity))
    rows += [event("u", "t", 9000, "view", "A", 10), event("u", "t", 9001, "cart", "A", 10, 3)]
    rows += [event("u", "t", 9002, "view", "B", 10), event("u", "t", 9003, "purchase", "B", 10, 2)]
    rows += [event(f"f{i}", f"g{i}", 100_000 * (i + 1), "view", "A", 10) for i in range(6)]
    settings = compose("train", "log=csv")["log"]
    path = str(write_csv(tmp_path / "log.csv", rows))
    log, _, _ = prepare_log({**settings, "path": path}, tmp_path / "cache", {})
    assert cart_paid(log.sessions()) == pytest.approx(2 / 3)
    assert mean_quantity(log.sessions()) == pytest.approx(2.0)


def test_a_log_without_prices_has_nothing_to_earn(tmp_path: Path) -> None:
    # Why: ranking policies by a price of 1 each would look like money.
    rows = [event(f"u{i % 7}", f"s{i}", 3600 * i, "view", "ABC"[i % 3]) for i in range(30)]
    settings = compose("train", "log=csv")["log"]
    path = str(write_csv(tmp_path / "l.csv", rows))
    log, _, _ = prepare_log({**settings, "path": path}, tmp_path / "cache", {})
    with pytest.raises(UserError, match=r"l\.csv holds no prices.*python -m recgym\.fit"):
        check_priced(log, "dqn")


def test_a_fit_that_is_killed_goes_on_from_the_cache(
    log: tuple[Log, ReaderBase], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why: the same command again is all that a user knows of; a member of an ensemble is a fit of
    # hours like any other. Killed after its epochs, it must not make one of them anew.
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_stage, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_model(*log, MODEL, cache, CPU, {}, member=0)
    (left,) = cache.glob("model-*.resume.pt")
    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "_update_all", killed)
        _, _, folder, reused = prepare_model(*log, MODEL, cache, CPU, {}, member=0)
    assert not reused and left.name == f"{folder.name}.resume.pt" and not left.exists()


def test_members_are_fits_of_their_own_and_made_once(
    log: tuple[Log, ReaderBase], cache: Path
) -> None:
    # Why: members that were alike could part over nothing, and each one costs a fit.
    settings = {**MODEL, "ensemble": {"members": 4}}
    seconds: dict[str, float] = {}
    folders = prepare_members(*log, settings, cache, CPU, seconds)
    assert len(set(folders)) == 4 and set(seconds) == {"ensemble"}
    models = [load_model(folder) for folder in folders]
    assert len({float(model.items.own.detach().sum()) for model in models}) == 4
    # what the members are not checked by does not make them anew, and fewer are the first of them
    other = {**MODEL, "on_policy": {"seed": 9, "sessions": 2}, "ensemble": {"members": 2}}
    written = [(folder / "model.pt").stat().st_mtime_ns for folder in folders]
    assert prepare_members(*log, other, cache, CPU, {}) == folders[:2]
    assert [(folder / "model.pt").stat().st_mtime_ns for folder in folders] == written
    assert prepare_members(*log, MODEL, cache, CPU, seconds) == []
    starts = {float(model.start_ms.double().sum()) for model in models}
    assert len(starts) == 1  # sessions begin alike in all of them
