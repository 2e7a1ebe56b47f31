"""experiments.published: the official GRU4Rec comparison's sessions by hand, and run end to end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from log_files import write_text
from tiny import call

from experiments.predicting.base import Views
from experiments.published import main, prepared_of
from experiments.publishing.layouts import LAYOUTS
from experiments.publishing.shopping import as_sessions, catalog_of
from recgym.errors import UserError
from recgym.logs.base import MEMORY_LIMIT
from recgym.types import Kind, Split

CUT_S = 1_440_000_000  # a whole hour; the test is the seven days from it on
END_S = CUT_S + 7 * 86_400
A, B, D, E, U = 5, 4, 3, 2, 1  # items; D has four views, E and U five, U none before the cut
HOUR = 3_600
# visitor, seconds from the cut, item; the second of visitor 3 puts into the cart
BY_HAND = [
    (1, -100_000, A), (1, -100_000 + HOUR + 1, E), (1, -100_000 + 2 * HOUR + 1, B),
    (3, -80_000, A), (3, -77_000, A), (3, -74_000, B),
    (4, -70_000, A), (4, -69_990, A), (4, -69_980, B), (4, -69_970, A),
    (6, -50_000, D), (6, -49_990, A),
    (7, -100, B), (7, -50, E), (7, 10, A),
    (8, END_S - CUT_S - 1_830, A), (8, END_S - CUT_S - 1_820, U), (8, END_S - CUT_S - 1_800, B),
    (9, 2_000, U), (9, 2_005, U), (9, 2_010, E), (9, 2_020, U),
    (10, 3_000, D), (10, 3_010, E), (10, 3_020, D), (10, 3_030, B), (10, 3_040, U),
    (11, 4_000, U), (11, 4_010, D), (11, 4_020, E),
]  # fmt: skip


def events_csv(folder: Path, rows: list[tuple[int, int, int]], carts: tuple[int, ...] = ()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["timestamp,visitorid,event,itemid,transactionid"]
    for number, (visitor, second, item) in enumerate(rows):
        event = "addtocart" if number in carts else "view"
        lines.append(f"{(CUT_S + second) * 1000},{visitor},{event},{item},")
    write_text(folder / "events.csv", "\n".join(lines) + "\n")
    return folder


def prepared(name: str, folder: Path, gaps: str = "all") -> Any:
    found = prepared_of(name, str(folder), gaps, folder / "work", MEMORY_LIMIT)
    assert not (folder / "work").exists()
    return found


def sessions_of(found: Any) -> list[list[int]]:
    """Items of each session, as coded: those of the training in the order of their numbers."""
    return [part.tolist() for part in found.item.tensor_split(found.offset[1:-1])]


def test_the_protocol_by_hand(tmp_path: Path) -> None:
    # Why: thirty rows with every special case. 29 views, of which 2 repeat the one before. Visitor
    # 1 rests 3,601 s (a new session: A alone, dropped), then 3,600 s (the same one). The cart of
    # visitor 3 bridges a rest of 6,000 s. D has four views, all dropped, which leaves visitor 6 one
    # view, dropped; then A and E and U have five. 21 views stay, of 8 sessions: E B, A B, A B A,
    # B E A, A U B, U E U, E B U, U E. The fourth crosses the cut: B E is trained on, A is neither.
    # The last four are the test; without the five of U, unknown, A B, E, E B, E: two next views.
    assert len(BY_HAND) == 30
    found = prepared("retailrocket", events_csv(tmp_path, BY_HAND, carts=(4,)))
    assert found.counts == {
        "rows": 30, "rows_not_read": 0, "files": 1, "views": 29, "repeats": 2,
        "kept_views": 21, "kept_sessions": 8, "kept_items": 4,
        "train_views": 9, "train_sessions": 4, "train_items": 3,
        "test_views": 11, "test_sessions": 4, "test_items": 4,
        "test_unknown": 5, "test_ranked": 2,
    }  # fmt: skip
    e, b, a = 0, 1, 2  # codes of E, B and A, in the order of their numbers
    training = [[e, b], [a, b], [a, b, a], [b, e]]
    assert sessions_of(found) == [*training, [e], [e, b], [e], [a, b]]
    assert found.is_test.tolist() == [False] * 4 + [True] * 4


def test_rests_between_views_alone_cut_more(tmp_path: Path) -> None:
    # Why: by hand. The cart no longer bridges; A falls to four views, then B, E and U, one after
    # the other: what the filter does until nothing changes leaves nothing.
    folder = events_csv(tmp_path, BY_HAND, carts=(4,))
    with pytest.raises(UserError, match="no session is left of 29 views: expected sessions of two"):
        prepared("retailrocket", folder, gaps="views")
    with pytest.raises(UserError, match="gaps=some: expected one of all, views"):
        prepared("retailrocket", folder, gaps="some")


def plain(rows: list[tuple[int, int, int]], carts: set[int]) -> tuple[list[Any], list[Any]]:
    """Training and test sessions of items, by loops over the steps of the protocol."""
    order = sorted(range(len(rows)), key=lambda n: (rows[n][0], rows[n][1], rows[n][2], n))
    sessions: list[list[tuple[int, int]]] = []
    before: tuple[int, int] | None = None
    for n in order:
        visitor, second, item = rows[n]
        if before is None or before[0] != visitor or second - before[1] > HOUR:
            sessions.append([])
        before = (visitor, second)
        if n not in carts and (not sessions[-1] or sessions[-1][-1][1] != item):
            sessions[-1].append((second, item))
    size = -1
    while size != (size := sum(map(len, sessions))):
        sessions = [s for s in sessions if len(s) > 1]
        views = Counter(item for s in sessions for _, item in s)
        sessions = [[v for v in s if views[v[1]] >= 5] for s in sessions]
    sessions = sorted((s for s in sessions if s), key=lambda s: s[0][0])
    last = max(second for s in sessions for second, _ in s)
    cut = -(-last // HOUR) * HOUR - 7 * 86_400
    train = [[i for t, i in s if t < cut] for s in sessions]
    train = [s for s in train if len(s) > 1]
    known = {i for s in train for i in s}
    test = [[i for _, i in s if i in known] for s in sessions if s[0][0] >= cut]
    return train, [s for s in test if s]


def test_a_plain_reading_of_the_steps_finds_the_same_sessions(tmp_path: Path) -> None:
    # Why: the filter's rounds, ties in time and sessions across the cut, many at once.
    draw = np.random.default_rng(0)
    start = np.sort(draw.integers(-10 * 86_400, 7 * 86_400, 120))
    rows = [
        (int(visitor), int(begin + second), int(item))
        for visitor, begin in zip(draw.integers(0, 40, 120), start, strict=True)
        for second, item in zip(
            draw.integers(0, 5_000, 4).cumsum(), draw.geometric(0.05, 4), strict=True
        )
    ]
    carts = set(draw.integers(0, len(rows), 60).tolist())
    found = prepared("retailrocket", events_csv(tmp_path, rows, tuple(carts)))
    train, test = plain(rows, carts)
    code = {item: number for number, item in enumerate(sorted({i for s in train for i in s}))}
    expected = [[code[i] for i in s] for s in [*train, *test]]
    assert len(train) > 20 and len(test) > 10
    assert sorted(sessions_of(found)) == sorted(expected)
    assert int(found.is_test.sum()) == len(test)


def cycle(folder: Path, num_sessions: int = 150, num_items: int = 12) -> Path:
    """A log in which each item is followed by the next one, round and round."""
    draw = np.random.default_rng(1)
    rows = []
    for visitor in range(num_sessions):
        begin = -14 * 86_400 + visitor * 21 * 86_400 // num_sessions
        first = int(draw.integers(num_items))
        rows += [(visitor, begin + 60 * n, 100 + (first + n) % num_items) for n in range(4)]
    return events_csv(folder, rows)


def test_prepared_sessions_are_what_a_user_model_reads(tmp_path: Path) -> None:
    # Why: a leave step in the wrong place, or a test session among those of the fit, and all
    # figures are of another log.
    found = prepared("retailrocket", cycle(tmp_path))
    sessions = as_sessions(found, 0.1)
    event, kind = sessions.event, sessions.event.kind
    assert int((kind == int(Kind.LEAVE)).sum()) == len(sessions.split)
    assert bool((kind[sessions.offset[1:] - 1] == int(Kind.LEAVE)).all())
    assert torch.equal(event.item[kind == int(Kind.VIEW)], found.item)
    assert set(event.gap[1:4].tolist()) == {60.0} and event.gap[:5].tolist()[::4] == [0.0, 0.0]
    assert torch.equal(sessions.split == int(Split.TEST), found.is_test)
    num_train = int((~found.is_test).sum())
    valid_B = (sessions.split == int(Split.VALID)).nonzero().squeeze(-1)
    assert valid_B.tolist() == list(range(num_train - round(0.1 * num_train), num_train))


def test_groups_hold_what_is_viewed_together() -> None:
    # Why: the protocol gives no categories; random ones would be worse than none.
    item_V = torch.tensor([0, 2, 2, 0, 1, 3, 3, 1])
    views = Views(item_V, torch.zeros(8, dtype=torch.int64), torch.tensor([0, 2, 4, 6, 8]), 70)
    category = catalog_of(views, 3, 0).category
    assert category[0] == category[2] != category[1] == category[3]
    assert catalog_of(views, 1, 0).category.tolist() == [0] * 70


def test_a_synthetic_log_runs_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: whoever has a copy of the log gets the table by one command. Each item is followed by
    # one other, so that the chain has it on top; popularity ranks 12 items within 20.
    small = ["hidden=8", "embedding=4", "classes=4", "segments=1"]
    call(
        main,
        f"data={cycle(tmp_path / 'data')}",
        "predictors=[popularity,markov]",
        "num_groups=3",
        *(f"user_model.model.{setting}" for setting in small),
        "user_model.fit.epochs=1",
        "user_model.fit.least_updates=4",
        "device=cpu",
        "num_threads=1",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    content = json.loads((tmp_path / "run" / "published.json").read_text())
    rows = content["next_view"]
    assert set(rows) == {"lstm", "popularity", "markov", "GRU4Rec, as published"}
    assert content["published"] == {"recall_at_20": 0.5186, "mrr_at_20": 0.2175}
    assert rows["markov"]["recall_at_1"] == rows["markov"]["mrr_at_20"] == 1.0
    assert rows["lstm"]["recall_at_20"] == rows["popularity"]["recall_at_20"] == 1.0
    assert 0.0 < rows["lstm"]["nll_next_view"] < 4.0
    assert content["counts"]["test_ranked"] == 3 * content["counts"]["test_sessions"]
    said = capsys.readouterr().out
    assert "| GRU4Rec, as published | - | - | - | - | 0.5186 | 0.2175 | - |" in said


def test_a_file_that_the_figures_are_of_is_missed_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: beside figures of two files those of one would pass for a fair comparison.
    write_text(tmp_path / "yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n")
    with pytest.raises(UserError, match="no session is left of 1 views"):
        prepared("yoochoose", tmp_path)
    assert "without yoochoose-test.dat, which the published" in capsys.readouterr().out


def test_copies_that_cannot_be_read_end_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for data, said in (
        (None, "data is missing: set data=DIR, the folder that holds events.csv"),
        (str(tmp_path / "no"), "is no folder: expected the folder that holds events.csv"),
        (str(tmp_path), "lacks events.csv: expected the folder that holds events.csv"),
    ):
        with pytest.raises(UserError, match=said):
            prepared_of("retailrocket", data, "all", tmp_path / "work", MEMORY_LIMIT)
    with pytest.raises(
        UserError, match=r"lacks 2019-Oct\.csv: expected the folder that holds 2019"
    ):
        prepared("rees46", tmp_path)
    with pytest.raises(UserError, match="protocol=amazon: expected one of retailrocket, dig"):
        prepared("amazon", tmp_path)
    write_text(tmp_path / "events.csv", "timestamp,visitorid,event,item\n1,2,view,3\n")
    with pytest.raises(UserError, match="lacks the column 'itemid' of retailrocket; found 'time"):
        prepared("retailrocket", tmp_path)
    write_text(tmp_path / "events.csv", "timestamp,visitorid,event,itemid\nx,2,view,y\n")
    with pytest.raises(UserError, match="holds no row that can be read as one of retailrocket"):
        prepared("retailrocket", tmp_path)
    write_text(tmp_path / "yoochoose-clicks.dat", "1,2014-04-07T10:51:09.277Z\n")
    with pytest.raises(UserError, match=r"has 2 column\(s\): expected the 4 of yoochoose"):
        prepared("yoochoose", tmp_path)
    with pytest.raises(SystemExit):
        call(main, f"data={tmp_path}", "valid_share=1", f"hydra.run.dir={tmp_path / 'run'}")
    assert "valid_share=1: expected a share above 0 and below 1" in capsys.readouterr().err
    late = [(visitor, second, 1 + second % 2) for visitor in range(5) for second in (0, 1)]
    with pytest.raises(UserError, match="no session is left to train on: expected sessions on"):
        prepared("retailrocket", events_csv(tmp_path / "late", late))


def test_published_figures_are_those_of_the_paper() -> None:
    figures = {name: (layout.recall, layout.mrr) for name, layout in LAYOUTS.items()}
    assert figures == {
        "retailrocket": (0.5186, 0.2175), "diginetica": (0.4995, 0.1542),
        "yoochoose": (0.6789, 0.3024), "rees46": (0.5293, 0.2008),
    }  # fmt: skip
