"""What a run came to: the same numbers as the page, and no markup or escape sequence from a model or a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reports.facts.reading import collect
from selfreward_bench.cli.console import show
from selfreward_bench.cli.results import results

from .conftest import Cli, Terminal, assert_fits, unstyled

Capture = pytest.CaptureFixture[str]


def shown(path: Path, capsys: Capture) -> str:
    show(*results(collect(path)))
    return unstyled(capsys.readouterr().out)


def test_verdict_differences_and_matches(whole: Any, capsys: Capture) -> None:
    text = shown(whole.path, capsys)
    assert "Answer quality: True quality, sampled 3.00 → 3.60 (vs M1 ▲ +0.60 [+0.40, +0.80])" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    last = lines.index("Answer quality: True quality, sampled") + 3
    assert lines[last] == "M3 3.60 [3.50, 3.70] vs M2 +0.30 [−0.10, +0.70] 507 of 512"  # noqa: RUF001 - as it is shown
    assert lines[last + 1] == "vs M1 ▲ +0.60 [+0.40, +0.80]"
    assert "▲ 58.0 % [54.0, 62.0]" in text
    assert "Perfect answers, sampled" not in text


def test_at_80_columns_no_line_is_longer_and_no_word_broken(full: Any, capsys: Capture, terminal: Terminal) -> None:
    piped = shown(full.path, capsys)
    for width in (80, 120, 200):
        terminal(width)
        assert_fits(shown(full.path, capsys), width, piped)
    at_200 = shown(full.path, capsys).splitlines()
    assert len([line for line in at_200 if line.startswith("  M3 ")]) == piped.count("\n  M3 ")


def test_unlike_conditions_are_told(full: Any, capsys: Capture) -> None:
    assert "Not comparable" not in shown(full.path, capsys)
    full.result("M3", "alpaca-eval@1", metrics={"win_rate": 50.0}, conditions={"judge": "other"})
    assert "Not comparable: AlpacaEval, judge: judge-x (M0, SFT, M1 and M2), other (M3)" in shown(full.path, capsys)


def test_an_empty_run_has_no_results(builder: Any, cli: Cli) -> None:
    done = cli("report", builder.path)
    assert done.exit_code == 0
    assert "VALUE" not in done.stdout


def test_markup_and_escapes_are_shown_as_they_are(whole: Any, capsys: Capture) -> None:
    evil = "[red]x[/red] \x1b[2J [link=http://x]y[/link]"
    folder = whole.path / "M3" / "eval" / "other@1"
    folder.mkdir()
    failure = {"checkpoint": "M3", "fingerprint": "f", "benchmark": "other@1", "error": "E", "message": evil}
    (folder / "failure.json").write_text(json.dumps(failure))
    show(*results(collect(whole.path)))
    text = capsys.readouterr().out
    assert "[red]x[/red] [U+001B][2J [link=http://x]y[/link]" in text
    assert "\x1b" not in text
