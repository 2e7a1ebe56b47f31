"""One thread, files in an order that keeps all workers busy, and what many files share."""

import gc
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# torch's compiler would start other Pythons for the one program that the tests compile
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """One thread: the tensors of the tests are small, and busy neighbours make more crawl."""
    if config.getoption("numprocesses", None):
        return  # it only hands out tests: workers would wait while it imports torch
    import torch

    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run side by side, those that compare times wait for a run of their own.

    Files with slow tests come first, then those with many, so that no worker is left with a long
    one at the end.
    """
    if not hasattr(config, "workerinput"):
        return
    beside = pytest.mark.skip(reason="compares times: pytest -n 0 tests/test_speed.py")
    for item in items:
        if "alone" in item.keywords:
            item.add_marker(beside)
    slow = Counter(item.path for item in items if "slow" in item.keywords)
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -count[item.path]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Nothing imported so far is garbage: its collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of all workers, for tests that ask for the same log and fit and test neither."""
    home = tmp_path_factory.getbasetemp()
    return (home.parent if "PYTEST_XDIST_WORKER" in os.environ else home) / "kept"


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is compiled from now on: traced whole, but run by Python, in seconds."""
    import torch

    names: list[str] = []
    whole = torch.compile

    def trace(function: Any, **settings: Any) -> Any:
        names.append(function.__name__)
        return whole(function, backend="eager", **settings)

    torch.compiler.reset()  # the compiler keeps few programs of one function
    monkeypatch.setattr(torch, "compile", trace)
    return names
