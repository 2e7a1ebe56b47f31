"""One thread: the tensors of the tests are small, and busy neighbours make more threads crawl."""

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run side by side, those that compare times wait for a run of their own."""
    if not hasattr(config, "workerinput"):
        return
    beside = pytest.mark.skip(reason="compares times: pytest -n 0 tests/test_speed.py")
    for item in items:
        if "alone" in item.keywords:
            item.add_marker(beside)
