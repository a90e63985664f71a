"""What long work shows: rate, remaining time, one line per finished stage."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from selfreward_bench.cli.progress import RichReporter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain() -> tuple[RichReporter, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return RichReporter(Console(file=stream, width=200), clock), stream, clock


def test_rate_and_remaining_time_do_not_count_what_was_found_done() -> None:
    reporter, stream, clock = plain()
    reporter.started("M2/candidates", 1_000, "completions")
    reporter.advanced(500)  # an earlier process made these
    for _ in range(5):
        clock.now += 4
        reporter.advanced(20)
    assert stream.getvalue() == "M2/candidates  580/1,000 completions, 5.0/s, 1 min 24 s left\n"


def test_what_was_found_done_has_no_rate_yet() -> None:
    reporter, stream, clock = plain()
    reporter.started("M2/candidates", 1_000, "completions")
    clock.now += 20
    reporter.advanced(500)
    assert stream.getvalue() == "M2/candidates  500/1,000 completions\n"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    reporter, stream, clock = plain()
    reporter.started("M2/train", None, "steps")
    for amount in [10] * 100 + [1] * 50:
        clock.now += 1
        reporter.advanced(amount)
    assert stream.getvalue().splitlines()[-1] == "M2/train  1,050 steps, 1.0/s"


def test_slow_units_keep_their_rate() -> None:
    reporter, stream, clock = plain()
    reporter.started("M2/judgments", 10, "judgments")
    reporter.advanced(0)
    for _ in range(2):
        clock.now += 120
        reporter.advanced(1)
    assert stream.getvalue().splitlines() == [
        "M2/judgments  1/10 judgments, 0.5/min, 18 min 00 s left",
        "M2/judgments  2/10 judgments, 0.5/min, 16 min 00 s left",
    ]


def test_without_a_terminal_there_is_a_line_every_few_seconds_not_every_unit() -> None:
    reporter, stream, clock = plain()
    with reporter:
        reporter.started("M2/candidates", 1_000, "completions")
        for _ in range(320):
            clock.now += 0.125
            reporter.advanced()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "M2/candidates  120/1,000 completions, 8.0/s, 1 min 50 s left"
    assert len(lines) == 2


def test_a_dumb_terminal_gets_plain_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, clock = io.StringIO(), Clock()
    with RichReporter(Console(file=stream, force_terminal=True), clock) as reporter:
        reporter.started("M2/candidates", 1_000, "completions")
        for _ in range(20):
            clock.now += 1
            reporter.advanced()
    assert stream.getvalue() == "M2/candidates  15/1,000 completions, 1.0/s, 16 min 25 s left\n"


def test_a_finished_stage_is_one_line_with_its_counts() -> None:
    reporter, stream, _ = plain()
    with reporter:
        reporter.started("M2/pairs", None, "pairs")
        reporter.finished("M2/pairs", {"prompts": 1500.0, "tied": 0, "pairs": 1412, "mean_gap": 2.12345}, 3.21)
    assert stream.getvalue() == "M2/pairs        done in 3.2 s: pairs 1,412, prompts 1,500, mean_gap 2.123\n"


def test_work_done_before_is_named_once() -> None:
    reporter, stream, _ = plain()
    with reporter:
        for _ in range(3):
            reporter.finished("M1/ift", {"examples": 3200}, 1.0, skipped=True)
        reporter.finished("M1/train", {}, 61.0)
        reporter.finished("M1/train", {}, 61.0, skipped=True)
    assert stream.getvalue().splitlines() == [
        "M1/ift          was done before: examples 3,200",
        "M1/train        done in 1 min 01 s",
    ]


def test_messages_are_text_not_markup_and_cannot_steer_the_terminal() -> None:
    reporter, stream, _ = plain()
    with reporter:
        reporter.message("[red]model said[/red] \x1b[2J\udcff")
    assert stream.getvalue() == "[red]model said[/red] \\x1b[2J\\udcff\n"


def test_on_a_terminal_a_bar_is_drawn_and_taken_away() -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=True, width=120, legacy_windows=False)
    with RichReporter(console, clock) as reporter:
        reporter.started("M2/[judgments]", 10, "judgments")
        reporter.advanced(2)
        clock.now += 1
        reporter.advanced(3)
        reporter._progress.refresh()
        reporter.finished("M2/[judgments]", {"judged": 10}, 1.0)
    text = stream.getvalue()
    assert "M2/[judgments]" in text
    assert "5/10 judgments, 3.0/s, 2.0 s left" in text
    assert "\x1b[?25h" in text  # the cursor is shown again
    assert "done in 1.0 s: judged 10" in text


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_with_rate_and_remaining_time_keeps_to_one_line(width: int) -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=True, width=width, legacy_windows=False)
    with RichReporter(console, clock) as reporter:
        reporter.started("claude-2/eval/alpaca-eval@1", 804, "samples")
        reporter.advanced(288)
        clock.now += 7
        reporter.advanced(416)
        reporter._progress.refresh()
    (line,) = (line for line in re.split(r"[\r\n]+", stream.getvalue()) if "704/804 samples, 59/s, 2.0 s left" in line)
    assert "claude-2/eval/alpaca-eval@1" in line
    assert "━" in line


def test_the_cursor_comes_back_when_the_work_fails() -> None:
    stream = io.StringIO()
    reporter = RichReporter(Console(file=stream, force_terminal=True, width=80, legacy_windows=False))

    def work() -> None:
        with reporter:
            reporter.started("M1/train", 5, "steps")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def test_an_advance_without_a_stage_is_nothing() -> None:
    reporter, stream, _ = plain()
    reporter.advanced(3)
    assert stream.getvalue() == ""


def test_the_whole_has_a_place_of_its_own() -> None:
    reporter, stream, clock = plain()
    reporter.overall("model 2 of 5, benchmark 1 of 6", 6, 30, 600.0)
    reporter.started("M1/eval/nlp@1", 1_000, "samples")
    for _ in range(5):
        clock.now += 4
        reporter.advanced(20)
    (line,) = stream.getvalue().splitlines()
    whole = "model 2 of 5, benchmark 1 of 6  9 min 44 s left in all"
    assert line == f"{whole}  M1/eval/nlp@1  80/1,000 samples, 5.0/s, 3 min 04 s left"
    reporter.overall("model 2 of 5, benchmark 2 of 6", 7, 30, None)
    assert len(reporter._progress.tasks) == 2


def test_both_bars_fit_80_columns() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), width=80, force_terminal=True, force_interactive=True)
    with RichReporter(console, clock) as reporter:
        reporter.overall("model 3 of 5, benchmark 2 of 6", 13, 30, 3_725.0)
        reporter.started("M2/eval/micro-judge-accuracy@1", 9_000, "samples")
        clock.now += 10
        reporter.advanced(4_000)
        other = Console(file=io.StringIO(), width=80)
        with other.capture() as shown:
            other.print(reporter._progress.get_renderable())
    lines = shown.get().splitlines()
    assert "1 h 01 min left in all" in lines[0]
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
