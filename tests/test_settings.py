"""recgym.settings: values are held against annotations, and the sentence says what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from recgym.errors import UserError
from recgym.settings import Count, Positive, Share, check, keywords


class Taking:
    def __init__(
        self,
        *,
        model: object,
        share: Share = 0.5,
        rate: Positive = 0.1,
        count: Count = 1,
        free: float = 0.0,
        least: int | None = None,
        pair: tuple[Share, Share] = (0.5, 0.1),
        many: list[int] | None = None,
        on: bool = False,
        name: str = "a",
    ) -> None: ...


@pytest.mark.parametrize(
    "good",
    [
        {"share": 0},
        {"share": 1.0, "count": 7},
        {"free": -3},
        {"least": None},
        {"least": -2},
        {"pair": [0, 1]},
        {"many": []},
        {"many": [1, 2]},
        {"on": True, "name": "b", "model": object()},
    ],
)
def test_what_can_be_used_passes(good: dict[str, Any]) -> None:
    # Why: a check that refuses good values is worse than none; a whole number is a number.
    check("agent", good, Taking)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("share", "abc", "a number from 0 to 1"),
        ("share", 1.1, "a number from 0 to 1"),
        ("share", True, "a number from 0 to 1"),
        ("share", None, "a number from 0 to 1"),
        ("rate", 0.0, "a number of at least 1e-12"),
        ("count", 2.0, "a whole number of at least 1"),
        ("count", 0, "a whole number of at least 1"),
        ("free", float("nan"), "a number"),
        ("free", [1.0], "a number"),
        ("least", "x", "a whole number or null"),
        ("pair", [0.5], r"\[a number from 0 to 1, a number from 0 to 1\]"),
        ("pair", 0.5, r"\[a number from 0 to 1, a number from 0 to 1\]"),
        ("many", [1, "x"], r"\[a whole number\] or null"),
        ("on", "yes", "true or false"),
        ("name", 3, "a text"),
    ],
)
def test_what_cannot_be_used_is_said(name: str, value: object, expected: str) -> None:
    # Why: else it ends in a traceback after the fit, or in a NaN that nobody sees.
    with pytest.raises(UserError, match=rf"^agent\.{name}=.*: expected {expected}\.$"):
        check("agent", {name: value}, Taking)


def test_an_unknown_setting_names_the_known_ones() -> None:
    # Why: + on the command line adds any key.
    with pytest.raises(UserError, match=r"agent\.speed is no setting: expected count, free, least"):
        check("agent", {"speed": 1}, Taking)


def test_functions_and_targets_without_annotations_are_let_through() -> None:
    # Why: an agent of somebody else's may say nothing of its types.
    check("agent", {"a": "x", "b": 2}, lambda a, b: None)
    check("agent", {"anything": 1}, lambda **kw: None)
    check("agent", {"x": 1}, dict)


class Passing(Taking):
    def __init__(self, *, own: Count = 1, **settings: Any) -> None: ...


def test_a_class_that_passes_settings_on_is_held_to_those_of_its_base() -> None:
    # Why: agents that build on another have its settings too, and a wrong one must not reach it.
    assert keywords(Passing) == keywords(Taking) | {"own"} and "settings" not in keywords(Passing)
    check("agent", {"own": 2, "share": 0.3}, Passing)
    with pytest.raises(UserError, match=r"agent\.share=2: expected a number from 0 to 1"):
        check("agent", {"share": 2}, Passing)
    with pytest.raises(UserError, match=r"agent\.own=0: expected a whole number of at least 1"):
        check("agent", {"own": 0}, Passing)
    with pytest.raises(UserError, match=r"agent\.speed is no setting: expected count, free, least"):
        check("agent", {"speed": 1}, Passing)
