"""What is printed: a table keeps to its terminal, breaks no word it need not, and shows what is hidden."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from selfreward_bench.cli.console import KEPT, Columns, show
from selfreward_bench.hardware import GIB
from selfreward_bench.storage.rundir import RunDir
from trainers.fitting import Machine

from .conftest import Cli, Terminal, assert_fits, mark_done, unstyled

HEADER = ("MODEL", "BENCHMARK", "WHAT IT IS", "VALUE")
ROWS = [
    ("M1", "judge-accuracy-oasst@1", "how often the better response gets the higher score", "65.1 % [60.0, 70.2]"),
    ("M1", "mt-bench@1", "the mean grade", "7.10 [6.81, 7.39]"),
    ("meta-llama/Llama-3.1-8B-Instruct", "mt-bench@1", "the mean grade", "8.00 [7.90, 8.10]"),
]


def drawn(table: Columns, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def table(rows: Sequence[Sequence[str | Text]] = ROWS, heads: int = 0, right: Collection[int] = (3,)) -> Columns:
    return Columns(HEADER, rows, right=right, heads=heads)


# --- widths


def test_where_all_fits_a_row_is_a_line_and_numbers_are_flushed_right() -> None:
    lines = drawn(table(), 200)
    assert len(lines) == 1 + len(ROWS)
    assert [line.rstrip()[-19:].strip() for line in lines[1:]] == [row[3] for row in ROWS]
    assert len({len(line.rstrip()) for line in lines}) == 1


@pytest.mark.parametrize("width", [110, 100, 96])
def test_words_go_on_in_the_next_line_and_numbers_stay_whole(width: int) -> None:
    lines = drawn(table(), width)
    assert len(lines) > 1 + len(ROWS)
    assert_fits("\n".join(lines), width, "\n".join(drawn(table(), 200)))
    assert all(any(row[3] in line for line in lines) for row in ROWS)


@pytest.mark.parametrize("width", [24, 30, 41])
def test_a_kept_space_ends_no_line_and_is_a_space(width: int) -> None:
    counts = f"examples{KEPT}5,924, responses{KEPT}6,000, score_0{KEPT}632"
    lines = [line.rstrip() for line in drawn(Columns(("A", "B"), [("x", counts)]), width)]
    assert all(len(line) <= width for line in lines)
    assert [word for line in lines[1:] for word in line.removeprefix("x").strip().rstrip(",").split(", ")] == [
        "examples 5,924",
        "responses 6,000",
        "score_0 632",
    ]


def test_first_columns_become_lines_of_their_own_where_a_row_cannot_be_read() -> None:
    lines = [line.rstrip() for line in drawn(table(heads=2), 80)]
    assert_fits("\n".join(lines), 80, "\n".join(drawn(table(), 200)))
    assert lines[1] == "M1  judge-accuracy-oasst@1"
    assert lines[3] == "M1  mt-bench@1"
    assert lines[4].split() == ["the", "mean", "grade", "7.10", "[6.81,", "7.39]"]
    assert "meta-llama/Llama-3.1-8B-Instruct  mt-bench@1" in lines


def test_words_are_not_set_one_below_the_other_where_a_head_can_give_way() -> None:
    label = "all of it as it is or was to be"
    lines = [line.rstrip() for line in drawn(Columns(("", "VALUE"), [(label, "9" * 50)], right=(1,), heads=1), 64)]
    assert label in lines


def test_rows_under_the_same_head_share_it() -> None:
    lines = [line.rstrip() for line in drawn(table(heads=1), 72)]
    assert sum(line == "M1" for line in lines) == 1


def test_a_word_is_broken_only_where_no_column_can_hold_it_and_nothing_is_lost() -> None:
    name = "x" * 95
    lines = drawn(table([(name, "b@1", "short words only", "1.00")]), 60)
    assert all(cell_len(line) <= 60 for line in lines)
    assert "".join(lines).count("x") == 95
    assert {"short", "words", "only", "b@1", "1.00"} <= set(" ".join(lines).split())


@pytest.mark.parametrize("width", [1, 5, 12, 20, 33])
def test_no_terminal_is_too_narrow(width: int) -> None:
    assert all(cell_len(line) <= width for line in drawn(table(heads=1), width))


def test_wide_characters_take_two_cells() -> None:
    rows = [("模型" * 9, "bench@1", "評価 " * 20, "1.00"), ("é" * 30, "bench@1", "ok", "22.00")]
    for width in (60, 80, 200):
        lines = drawn(table(rows), width)
        assert all(cell_len(line) <= width for line in lines)
        ends = {cell_len(line.rstrip()) for line in lines if line.rstrip().endswith(".00")}
        assert len(ends) == 1
    assert any("模型" * 9 in line for line in drawn(table(rows), 80))
    assert "".join(drawn(table(rows), 60)).count("模") == 9


def test_long_names_over_numbers_go_on_below_and_the_numbers_stay_whole() -> None:
    names = [f"organisation/a-model-with-a-long-name-{n}" for n in range(3)]
    found = Columns(("", *names), [("Length-controlled win rate", *["65.1 %"] * 3)], right=(1, 2, 3))
    assert found.fits(80)
    lines = drawn(found, 80)
    assert all(cell_len(line) <= 80 for line in lines)
    assert sum(line.split().count("65.1") for line in lines) == 3


def test_sections_stand_under_their_titles_in_shared_columns() -> None:
    found = Columns(("", "M1"), right=(1,))
    for title in ("First, judge: [bold]x[/bold]", "Second"):
        found.section(title)
        found.add(f"{title[:2]} metric", "1.00")
    assert [line.rstrip() for line in drawn(found, 60)] == [
        "               M1",
        "First, judge: [bold]x[/bold]",
        "  Fi metric  1.00",
        "",
        "Second",
        "  Se metric  1.00",
    ]


# --- hostile texts


def test_nothing_in_a_cell_is_markup_or_steers_the_terminal() -> None:
    evil = "[bold]a[/bold]\x1b[2J\u202e\x07b\nc\td\udcff:smile:"
    (line,) = drawn(table([(evil, "b", Text("x\x1b[31m\ny", "red"), "1")]), 300)[1:]
    assert r"[bold]a[/bold]\x1b[2J\u202e\x07b\nc\td\udcff:smile:" in line
    assert r"x\x1b[31m\ny" in line


def test_a_cell_is_bounded() -> None:
    (line,) = drawn(table([("n" * 100_000, "b", "c", "1")]), 10_000)[1:]
    assert "n [98,000 more characters]" in line


def test_texts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show("[red]x[/red] \x1b[2J", Text("[link=http://x]y[/link]"), "")
    assert capsys.readouterr().out == "[red]x[/red] \\x1b[2J\n[link=http://x]y[/link]\n\n"


# --- the terminal, and what is none


def test_without_a_terminal_a_row_is_a_line_of_plain_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show(table([(*ROWS[0][:2], "word " * 400, "1.00")], heads=1))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split().count("word") == 400
    assert "\x1b" not in "".join(lines)


def test_no_line_ends_in_blanks(capsys: pytest.CaptureFixture[str], terminal: Terminal) -> None:
    rows = [(*row[:3], "") for row in ROWS]
    for width in (None, 60):
        if width:
            terminal(width)
        show(table(rows, right=()), "some words " * 9)
        lines = unstyled(capsys.readouterr().out).splitlines()
        assert [line.rstrip() for line in lines] == lines


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_left_out_on_demand(
    capsys: pytest.CaptureFixture[str], terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    found = table([(Text("a", "red"), "b", "c", "1")])
    terminal(80)
    show(found)
    assert "\x1b[31m" in capsys.readouterr().out
    monkeypatch.setenv(name, value)
    show(found)
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown
    assert ("\x1b" in shown) == (name == "NO_COLOR")  # bold is no colour


# --- commands


def _status(cli: Cli, _: Any) -> Callable[[], str]:
    cli("init", "a")
    run = RunDir.open(Path("a"))
    counts = {f"a_count_of_something_{n}": 12345.0 for n in range(9)}
    mark_done(run, "M1/ift", {"examples": 3200, **counts}, seconds=12345)
    mark_done(run, "M1/train", counts)
    run.stage("M2/candidates", {}, {})
    return lambda: cli("status", "a").stdout


def _recipes(cli: Cli, _: Any) -> Callable[[], str]:
    return lambda: cli("recipes").stdout


def _data(cli: Cli, _: Any) -> Callable[[], str]:
    return lambda: cli("data", "status").stdout + cli("data", "pull", "nlp", "instructions", "--dry-run").stdout


def _dry_run(cli: Cli, seed_data: list[str]) -> Callable[[], str]:
    cli("init", "a", *seed_data)
    mark_done(RunDir.open(Path("a")), "M1/ift", {"examples": 10})
    return lambda: cli("run-iteration", "a", "--dry-run", "--until", "M3").stdout


def _evaluation_dry_run(cli: Cli, _: Any) -> Callable[[], str]:
    for name in ("a-checkpoint-with-quite-a-long-name-of-its-own", "b"):
        Path(name).mkdir()
        Path(name, "config.json").write_text("{}", encoding="utf-8")
    asked = ["--checkpoint", "a-checkpoint-with-quite-a-long-name-of-its-own", "--checkpoint", "b", "--world", "micro"]
    return lambda: cli("eval", *asked, "--dry-run").stdout


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [_status, _recipes, _data, _dry_run, _evaluation_dry_run])
def test_at_80_columns_no_line_is_longer_and_no_word_broken(
    cli: Cli,
    terminal: Terminal,
    seed_data: list[str],
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Cli, list[str]], Callable[[], str]],
) -> None:
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: "f" * 32)
    here = Machine("cpu", 12 * GIB, 1, "available now on this machine", 12 * GIB, 99 * GIB)
    monkeypatch.setattr("trainers.fitting.find_machine", lambda directory: here)  # what is free changes between calls
    monkeypatch.setenv("SRBENCH_DATA_DIR", "data")
    monkeypatch.setattr(Path, "absolute", lambda path: path)  # a test's directory has a long name
    printed = prepare(cli, seed_data)
    piped = printed()
    longest = max(map(cell_len, piped.splitlines()))
    assert longest > 80, "nothing to break"
    for width in (80, 100):
        terminal(width)
        assert_fits(printed(), width, piped)
    terminal(longest)
    assert unstyled(printed()) == piped
