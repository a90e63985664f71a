"""``srbench compare``: what is printed and written, and with which exit code it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from selfreward_bench.types import EvalResult

from .conftest import Cli, Terminal, assert_fits

FALLS, GAINS = "quality_sampled < 0", "quality/quality_sampled > 0.2"


def test_the_difference_is_shown_with_its_arrow(cli: Cli, two_results: Path) -> None:
    done = cli("compare", f"{two_results}:M1", two_results / "M2")
    assert done.exit_code == 0
    line = next(x for x in done.stdout.splitlines() if x.startswith("  True quality, sampled "))
    assert line.split() == [
        "True",
        "quality,",
        "sampled",
        "3.50",
        "4.00",
        "▲",
        "+0.50",
        "[+0.45,",
        "+0.55]",
        "<0.001",
        "20",
        "±0.07",
    ]
    other = next(x for x in done.stdout.splitlines() if x.startswith("  Perfect answers, greedy "))
    assert "▲" not in other


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_longer_than_the_terminal_and_no_word_is_broken(
    cli: Cli, two_results: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    for model in ("M1", "M2"):
        change(two_results, model, judge="openai:judge@http://127.0.0.1:8000/v1 (weighted_alpaca_eval_gpt4_turbo)")
    shutil.copytree(two_results / "M2", Path("eval", "模型-a-checkpoint-whose-name-is-longer-than-its-numbers"))
    for b in ("run:M2", *Path("eval").iterdir()):
        given = ("compare", "run:M1", b, "--full", "--fail-if", FALLS)
        monkeypatch.setenv("TTY_COMPATIBLE", "0")
        piped = cli(*given)
        terminal(width)
        done = cli(*given)
        assert (done.exit_code, piped.exit_code) == (0, 0), done.output
        assert_fits(done.stdout, width, piped.stdout if b == "run:M2" else "")  # a name over numbers may be broken


@pytest.mark.parametrize(
    ("gates", "code"),
    [((FALLS,), 0), ((GAINS,), 1), ((FALLS, GAINS), 1), (("mt-bench/grade<0",), 2), ((GAINS, "mt-bench/grade<0"), 1)],
)
def test_exit_codes(cli: Cli, two_results: Path, gates: tuple[str, ...], code: int) -> None:
    options = [x for gate in gates for x in ("--fail-if", gate)]
    done = cli("compare", f"{two_results}:M1", f"{two_results}:M2", *options)
    assert done.exit_code == code, done.output
    assert ("FAILED" in done.stdout) is (code == 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fail-if", "x"), "is no gate"),
        (("--fail-if", "qualty_sampled<0"), "Did you mean"),
        (("--junit", "x.xml"), "Add one: --fail-if"),
        (("--summary", "github"), "GITHUB_STEP_SUMMARY is not set"),
        (("--benchmarks", "nlpp"), "Unknown benchmark"),
    ],
)
def test_errors_end_with_two_and_say_why(
    cli: Cli, two_results: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, str], words: str
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    done = cli("compare", f"{two_results}:M1", f"{two_results}:M2", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not list(Path().glob("*.xml"))


def test_what_is_not_evaluated_is_told(cli: Cli, two_results: Path) -> None:
    done = cli("compare", f"{two_results}:M1", f"{two_results}:M3")
    assert done.exit_code == 2
    assert f"{two_results}:M2" in done.stderr


def test_junit_and_summary_are_written_also_when_a_gate_fails(
    cli: Cli, two_results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "job.md")
    Path("job.md").write_text("before\n", encoding="utf-8")
    sides = f"{two_results}:M1", f"{two_results}:M2"
    done = cli(
        "compare", *sides, "--fail-if", GAINS, "--junit", "out/x.xml", "--summary", "s.md", "--summary", "github"
    )
    assert done.exit_code == 1
    assert ET.parse("out/x.xml").getroot().get("failures") == "1"  # noqa: S314 - our own
    summary = Path("s.md").read_text(encoding="utf-8")
    assert "FAILED" in summary
    assert Path("job.md").read_text(encoding="utf-8") == f"before\n{summary}"


def test_the_jobs_page_is_left_alone_unless_asked_for(
    cli: Cli, two_results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "job.md")
    cli("compare", f"{two_results}:M1", f"{two_results}:M2", "--fail-if", FALLS, "--summary", "s.md")
    assert not Path("job.md").exists()


def test_json_holds_every_metric_and_gate(cli: Cli, two_results: Path) -> None:
    done = cli("compare", f"{two_results}:M1", f"{two_results}:M2", "--format", "json", "--fail-if", GAINS)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    (benchmark,) = found["benchmarks"]
    assert [m["metric"] for m in benchmark["metrics"]] == ["quality_sampled", "exact_greedy"]
    assert benchmark["metrics"][0]["difference"]["value"] == pytest.approx(0.5)
    assert [g["status"] for g in found["gates"]] == ["failed"]


def test_markdown(cli: Cli, two_results: Path) -> None:
    done = cli("compare", f"{two_results}:M1", f"{two_results}:M2", "--format", "markdown")
    assert "| **True quality, sampled** | 3.50 | 4.00 | ▲ +0.50 [+0.45, +0.55] |" in done.stdout


def change(run: Path, model: str, **fields: Any) -> None:
    path = run / model / "eval" / "micro-quality@1" / "result.json"
    result = EvalResult.model_validate_json(path.read_bytes()).model_copy(update=fields)
    path.write_text(result.model_dump_json(), encoding="utf-8")


def test_unlike_results_are_named_and_compared_only_on_demand(cli: Cli, two_results: Path) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4o")):
        change(two_results, model, comparability={"judge": judge})
    sides = f"{two_results}:M1", f"{two_results}:M2"
    done = cli("compare", *sides, "--fail-if", GAINS)
    assert done.exit_code == 2
    assert "Not compared: judge: gpt-4 (M1), gpt-4o (M2)" in done.stdout
    assert "+0.50" not in done.stdout
    done = cli("compare", *sides, "--fail-if", GAINS, "--compare-unlike")
    assert done.exit_code == 1
    assert "Compared although made under unlike conditions: judge: gpt-4 (M1), gpt-4o (M2)" in done.stdout
    assert "+0.50" in done.stdout


def test_names_can_neither_steer_the_terminal_nor_be_markup(cli: Cli, two_results: Path) -> None:
    change(two_results, "M1", judge="[bold]x[/bold][/] \x1b[31m \u202e :smile:")
    done = cli("compare", f"{two_results}:M1", f"{two_results}:M2")
    assert "[bold]x[/bold][/] [U+001B][31m [U+202E] :smile:" in done.stdout
    assert "\x1b" not in done.stdout
