"""Where rows go: files, loggers, pages; and what happens when they cannot go there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from torch import nn
from watch.runs import clone_rows, hooks, mlp, run

from lockstep import UsageError, Watch, watch
from lockstep.watch import Parquet, TensorBoard
from lockstep.watch.rows import COLUMNS
from lockstep.watch.sinks import read


def test_a_plain_callable_takes_what_loggers_take() -> None:
    taken = {}

    def log(values, *, step):
        taken[step] = values

    with watch(mlp(64, 8, 10), every=5, sinks=log) as w:
        run(w.model, 10)
    assert list(taken) == [0, 5, 10]
    assert taken[5]["0/distinct"] == 8.0
    assert taken[5]["2/effective_rank"] == w["2"][1]["effective_rank"]
    assert all(isinstance(v, float) for values in taken.values() for v in values.values())


def test_parquet_holds_the_rows_and_the_events(tmp_path: Path) -> None:
    model = mlp(64, 8, 10)
    clone_rows(model[0], [0], [1])
    with watch(model, every=5, sinks=[Parquet(tmp_path / "run.parquet")]) as w:
        run(model, 12)
    rows, events = read(tmp_path / "run.parquet")
    assert rows == w.rows
    assert events == [event.as_dict() for event in w.events]
    assert len(events) == 1
    assert pyarrow.parquet.read_table(tmp_path / "run.parquet").column_names == list(COLUMNS)
    w.parquet(tmp_path / "again.parquet")
    assert read(tmp_path / "again.parquet") == (rows, events)


def test_columns_have_their_types_also_where_nothing_is_known(tmp_path: Path) -> None:
    import pyarrow.parquet

    with watch(mlp(64, 8, 10), every=1, activations=False) as w:
        run(w.model, 1)
    w.parquet(tmp_path / "one.parquet")
    with watch(mlp(64, 8, 10)) as empty:
        pass
    empty.rows.clear()
    empty.parquet(tmp_path / "none.parquet")
    one, none = (pyarrow.parquet.read_schema(tmp_path / f"{n}.parquet") for n in ("one", "none"))
    assert one.equals(none)
    assert str(one.field("dormant").type) == "double"
    assert read(tmp_path / "one.parquet")[0] == w.rows


def test_the_file_is_readable_while_training_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    with watch(mlp(64, 8, 10), every=1, sinks=[Parquet(path)]) as w:
        for n in range(30):
            run(w.model, 1)
            assert len(read(path)[0]) >= 2 * (n + 1) / 1.2
    assert os.listdir(tmp_path) == ["run.parquet"]


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with watch(mlp(64, 8, 10), every=5, sinks=[TensorBoard(tmp_path)]) as w:
        run(w.model, 10)
    found = EventAccumulator(str(tmp_path)).Reload()
    scalars = [(e.step, e.value) for e in found.Scalars("0/effective_rank")]
    want = w.column("0", "effective_rank")
    assert scalars == [(step, pytest.approx(value, rel=1e-6)) for step, value in want.items()]


def watched(w: Watch, count: int, then: Callable[[], object] = lambda: None) -> None:
    """``count`` updates under ``w``, and something that happens before it ends."""
    with w:
        run(w.model, count)
        then()


class Full:
    """A disk that is full from the second row on, and has room again in the end if ``heals``."""

    def __init__(self, heals: bool) -> None:
        self.heals, self.calls, self.closed = heals, 0, 0

    def __call__(self, values, *, step):
        self.calls += 1
        if self.calls > 1:
            raise OSError(28, "No space left on device")

    def close(self):
        self.closed += 1
        if not self.heals:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("heals", [False, True])
def test_a_sink_that_fails_does_not_end_the_training(heals: bool) -> None:
    bad, taken = Full(heals), []
    good = lambda values, *, step: taken.append(step)  # noqa: E731
    model = mlp(64, 8, 10)
    with (
        pytest.warns(
            UserWarning, match="Full did not take the rows of step 5.*No space left.*w.rows"
        ),
        watch(model, every=5, sinks=[bad, good]) as w,
    ):
        run(model, 12)
    assert [row["step"] for row in w["0"]] == taken == [0, 5, 10, 12]
    assert (bad.calls, bad.closed) == (4, 1)
    assert len(w.failures) == (3 if heals else 4)
    assert hooks(model) == 0


def test_a_parquet_that_cannot_be_written_is_written_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    path = folder / "run.parquet"
    model = mlp(64, 8, 10)
    w = watch(model, every=5, sinks=[Parquet(path)])
    with pytest.warns(UserWarning, match="Parquet did not take the rows of step 0"):
        watched(w, 7, folder.mkdir)
    assert read(path)[0] == w.rows


def test_a_full_disk_leaves_the_last_good_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.parquet"
    whole = pyarrow.parquet.write_table

    def fail(table, where):
        Path(where).write_bytes(b"PAR1 half a file")
        raise OSError(28, "No space left on device")

    model = mlp(64, 8, 10)
    w = watch(model, every=5, sinks=[Parquet(path)])
    with pytest.warns(UserWarning, match="No space left on device"):
        watched(w, 7, lambda: monkeypatch.setattr(pyarrow.parquet, "write_table", fail))
    monkeypatch.setattr(pyarrow.parquet, "write_table", whole)
    assert read(path)[0] == w.rows[:4]
    assert os.listdir(tmp_path) == ["run.parquet"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="is not a Lockstep watch of format 1"):
        read(tmp_path / "a.parquet")


class Links(HTMLParser):
    """What a page would fetch, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.fetched.append(value)


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    class Model(nn.Sequential):
        """A name that needs escaping is given below."""

    Model.__name__ = "A<b>&c"
    model = Model(*mlp(64, 8, 10, act=nn.Tanh))
    clone_rows(model[0], [0], [1])
    with watch(model, every=5) as w:
        run(model, 12)
    text = w.html(tmp_path / "run.html")
    assert (tmp_path / "run.html").read_text("utf-8") == text
    links = Links()
    links.feed(text)
    assert links.fetched == []
    assert "<script" not in text
    assert "A&lt;b&gt;&amp;c, watched" in text
    assert "units 0, 1 were equal" in text
    assert "no pass followed the last update" in text
    assert len(re.findall("<svg", text)) == 1
    for title in ("distinct units / width", "cloning R²", "dormant units, share"):
        assert title in text


def test_the_page_of_an_empty_run_and_of_many_layers(tmp_path: Path) -> None:
    assert "</html>" in watch(mlp(2, 2)).html()
    many = mlp(*[4] * 31)
    x = torch.randn(8, 4)
    with watch(many, every=1) as w:
        many(x).square().mean().backward()
        torch.optim.SGD(many.parameters(), 0.1).step()
    assert "and 6 more layers" in w.html()


def test_the_table_in_the_terminal() -> None:
    model = mlp(64, 8, 10)
    clone_rows(model[0], [0], [1])
    with watch(model, every=5) as w:
        run(model, 5)
    assert "Sequential: 5 updates" in str(w)
    assert "units 0, 1 were equal" in str(w)
