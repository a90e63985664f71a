"""The leaderboard: one row a checkpoint, comparable ones together, what differs said."""

from __future__ import annotations

from pathlib import Path

from reports.facts.reading import collect
from reports.live.board import Board, Entry, arrange
from reports.live.found import look

from ..conftest import RunBuilder, difference

ALPACA = "alpaca-eval@1"


def board_of(root: Path) -> Board:
    listing = sorted(look(root).places, key=lambda p: p.name)
    return arrange([Entry(p, collect(p.path), "finished") for p in listing])


def run(path: Path, win_rate: float | None, judge: str = "a") -> RunBuilder:
    found = RunBuilder(path)
    if win_rate is not None:
        for model, value in (("M1", 40.0), ("M3", win_rate)):
            found.result(model, ALPACA, metrics={"win_rate": value}, conditions={"judge": judge})
    return found


def test_rows_made_alike_stand_together_and_the_others_say_in_what_they_differ(tmp_path: Path) -> None:
    for name, judge in (("a", "one"), ("b", "two"), ("c", "one")):
        run(tmp_path / name, 50.0, judge)
    run(tmp_path / "d", None)
    board = board_of(tmp_path)
    told = [[(r.entry.place.name, r.model) for r in group] for group in board.groups]
    assert told == [
        [("a", "M1"), ("a", "M3"), ("c", "M1"), ("c", "M3")],
        [("b", "M1"), ("b", "M3")],
        [("d", "")],
    ]
    assert board.differing == ((), ("the judge of AlpacaEval",), ())
    assert board.columns == ((ALPACA, "win_rate"),)


def test_cells_have_their_interval_and_a_value_to_sort_by(tmp_path: Path) -> None:
    run(tmp_path / "a", 51.25)
    ((first, last),) = board_of(tmp_path).groups
    cell, value = last.cells[0]
    assert (cell.value, cell.interval, value) == ("51.2 %", "[51.1, 51.4]", 51.25)
    assert (first.last, last.last) == (False, True)


def test_the_decision_stands_at_the_last_checkpoint(tmp_path: Path) -> None:
    found = run(tmp_path / "a", 60.0)
    found.standings([difference("M3", "M1", 20.0, 15.0, 25.0, "win_rate", ALPACA)])
    ((first, last),) = board_of(tmp_path).groups
    assert first.decided == ""
    assert last.decided
    assert run(tmp_path / "b", 60.0)
    assert [r.decided for g in board_of(tmp_path).groups for r in g if r.entry.place.name == "b"] == ["", ""]


def test_a_run_that_is_not_read_has_a_row(tmp_path: Path) -> None:
    run(tmp_path / "a", 50.0)
    (place,) = look(tmp_path).places
    board = arrange([Entry(place, None, "not read")])
    ((row,),) = board.groups
    assert (row.model, row.settings, row.decided) == ("", {}, "")
    assert arrange([]).groups == ()
