"""The terminal tables: the same numbers, and no markup or escape sequence from a model or a file."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console, RenderableType

from reports import terminal
from reports.facts.run import collect


def shown(content: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(content)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_results_show_verdict_differences_and_matches(whole: Any) -> None:
    text = shown(terminal.results(collect(whole.path)))
    assert "Answer quality: True quality, sampled 3.00 → 3.60 (vs M1 ▲ +0.60 [+0.40, +0.80])" in text
    assert "vs M2 +0.30 [−0.10, +0.70]" in text  # noqa: RUF001 - the minus sign that is shown
    assert "▲ 58.0 % [54.0, 62.0]" in text
    assert "Perfect answers, sampled" not in text
    assert "Perfect answers, sampled" in shown(terminal.results(collect(whole.path), full=True))


def test_unlike_conditions_are_told(full: Any) -> None:
    assert "Not comparable" not in shown(terminal.results(collect(full.path)))
    full.result("M3", "alpaca-eval@1", metrics={"win_rate": 50.0}, conditions={"judge": "other"})
    text = " ".join(shown(terminal.results(collect(full.path))).split())
    assert "Not comparable: AlpacaEval, judge: judge-x (M0, SFT, M1 and M2), other (M3)" in text


def test_status_shows_each_model(whole: Any) -> None:
    lines = shown(terminal.status([collect(whole.path)])).splitlines()
    second = next(line for line in lines if "M2" in line)
    assert "2 done" in second
    assert "3.30" in second
    assert "75.0 %" in second
    assert "dpo begun" in next(line for line in lines if "M3" in line)


def test_status_of_an_empty_run(builder: Any) -> None:
    assert "no model yet" in shown(terminal.status([collect(builder.path)]))


def test_markup_and_escapes_are_shown_as_they_are(whole: Any) -> None:
    evil = "[red]x[/red] \x1b[2J [link=http://x]y[/link]"
    folder = whole.path / "M3" / "eval" / "other@1"
    folder.mkdir()
    failure = {"checkpoint": "M3", "fingerprint": "f", "benchmark": "other@1", "error": "E", "message": evil}
    (folder / "failure.json").write_text(json.dumps(failure))
    text = shown(terminal.results(collect(whole.path)))
    assert "[red]x[/red] [U+001B][2J [link=http://x]y[/link]" in text
    assert "\x1b" not in text
