"""One thread: the tensors of the tests are small, and busy neighbours make more threads crawl."""

from collections import Counter
from typing import Any

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run side by side, those that compare times wait for a run of their own.

    Files with slow tests come first, so that no worker is left with a long one at the end.
    """
    if not hasattr(config, "workerinput"):
        return
    beside = pytest.mark.skip(reason="compares times: pytest -n 0 tests/test_speed.py")
    for item in items:
        if "alone" in item.keywords:
            item.add_marker(beside)
    slow = Counter(item.path for item in items if "slow" in item.keywords)
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is compiled from now on: traced whole, but run by Python, in seconds."""
    names: list[str] = []
    whole = torch.compile

    def trace(function: Any, **settings: Any) -> Any:
        names.append(function.__name__)
        return whole(function, backend="eager", **settings)

    torch.compiler.reset()  # the compiler keeps few programs of one function
    monkeypatch.setattr(torch, "compile", trace)
    return names
