"""The one way to leave a file: beside and renamed, so that a kill leaves the old one whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place to write to, of the same suffix; it becomes ``path`` where the block ends well."""
    place = path.with_name(f".tmp-{path.name}")
    try:
        yield place
        place.rename(path)
    finally:
        place.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """A text, in UTF-8."""
    with beside(path) as place:
        place.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Whatever JSON can hold, for people too."""
    write_text(path, json.dumps(content, indent=2) + "\n")
