"""``srbench compare``: two evaluated checkpoints against each other, with gates for continuous integration."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from selfreward_bench.cli import completion
from selfreward_bench.cli.console import Columns, say, show
from selfreward_bench.errors import ConfigError
from selfreward_bench.storage.files import os_errors, write_atomic

if TYPE_CHECKING:
    from rich.text import Text

    from leaderboards.comparing.records import Pairing
    from reports.exports.gates import GateResult
    from reports.facts.paired import Part

_GITHUB: Final = "github"
_GITHUB_FILE: Final = "GITHUB_STEP_SUMMARY"
_STYLES: Final = {"better": "green", "worse": "red", "neutral": ""}
_SIGNS: Final = {"passed": ("passed", "green"), "failed": ("FAILED", "bold red"), "untested": ("NOT TESTED", "yellow")}


class Format(StrEnum):
    """How the comparison is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="The first checkpoint: RUN:MODEL, or a directory of results.",
            autocompletion=completion.models,
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="The second one, which is compared with the first.",
            autocompletion=completion.models,
        ),
    ],
    benchmarks: Annotated[
        str | None,
        typer.Option("--benchmarks", metavar="NAME,NAME", help="Which ones, such as nlp,mt-bench; all that both have."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All metrics, also those that are parts of others.")] = False,
    format: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.text,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="GATE", help="Ends with 1 where this holds. Can be repeated; see below."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Writes the gates as JUnit XML.")
    ] = None,
    summary: Annotated[
        list[str] | None,
        typer.Option("--summary", metavar="FILE|github", help="Writes Markdown; `github`: for the job's page there."),
    ] = None,
    compare_unlike: Annotated[
        bool, typer.Option("--compare-unlike", help="Compares also what was made under unlike conditions.")
    ] = False,
) -> None:
    """Compare two evaluated checkpoints, sample by sample.

    Nothing is evaluated: the results that `srbench eval` stored are compared, also those of different runs. Differences
    are B - A over the samples both have, with paired 95% intervals. Results that were not made alike (judge, prompts,
    parameters, data) are named and not compared.

    A gate is METRIC OP NUMBER [UNIT], such as "nlp/mmlu<-1.0": it fails where the whole interval of B - A is below -1
    percentage point, so where MMLU fell by more than that for sure. "nlp/mmlu?<-1.0" fails where the interval reaches
    below -1, so where such a fall cannot be ruled out. OP is <, <=, > or >=; numbers are percentage points (pp) for
    shares and per cents, and otherwise in the metric's own unit.

    Exit code 0: no gate failed. 1: a gate failed. 2: a gate could not be tested, or something is to be mended.

    \b
    Examples:
      srbench compare runs/first:M1 runs/first:M2
      srbench compare runs/first:M1 runs/first:M2 --benchmarks quality --full --format markdown
      srbench compare runs/first:M1 runs/first:M2 --fail-if "quality/quality_sampled?<-0.1" --junit gates.xml
      srbench compare runs/first:M1 runs/first:M2 --fail-if "quality/exact_greedy<-1 pp" --summary summary.md
    """
    from reports.exports import gates

    asked = [gates.parse(text) for text in fail_if or ()]
    if junit is not None and not asked:
        raise ConfigError("--junit writes what came of the gates, and there is none. Add one: --fail-if GATE.")
    places = [_summary_place(text) for text in summary or ()]
    pairing = _pair(a, b, benchmarks, compare_unlike)
    results = gates.evaluate(asked, pairing)
    _print(pairing, results, format, full)
    _write(pairing, results, junit, places, full)
    states = {r.status for r in results}
    if states - {"passed"}:
        raise typer.Exit(1 if "failed" in states else 2)


def _pair(a: str, b: str, benchmarks: str | None, compare_unlike: bool) -> Pairing:
    from leaderboards.comparing.pairing import locate, pair

    names = tuple(filter(None, (benchmarks or "").split(",")))
    return pair(locate(a), locate(b), benchmarks=names, compare_unlike=compare_unlike)


# --- files


def _summary_place(text: str) -> tuple[Path, bool]:
    """Where a summary goes, and whether it is added to what is there."""
    if text != _GITHUB:
        return Path(text), False
    place = os.environ.get(_GITHUB_FILE)
    if not place:
        raise ConfigError(f"--summary github: {_GITHUB_FILE} is not set, so this is no job of GitHub's. Give a file.")
    return Path(place), True


def _write(
    pairing: Pairing, results: Sequence[GateResult], junit: Path | None, places: Iterable[tuple[Path, bool]], full: bool
) -> None:
    from reports.exports import ci

    if junit is not None:
        write_atomic(junit, ci.junit(pairing, results))
    for path, added in places:
        content = ci.summary(pairing, results, full=full).encode()
        if not added:
            write_atomic(path, content)
            continue
        with os_errors(path, "write"), path.open("ab") as stream:
            stream.write(content)


# --- printing


def _print(pairing: Pairing, results: Sequence[GateResult], format: Format, full: bool) -> None:
    if format is Format.markdown:
        from reports.exports import ci

        say(ci.summary(pairing, results, full=full).rstrip("\n"))
    elif format is Format.json:
        gates = [
            {
                "gate": r.gate.text,
                "status": r.status,
                "benchmark": r.benchmark,
                "metric": r.metric,
                "message": r.message,
            }
            for r in results
        ]
        found = {**pairing.model_dump(mode="json"), "gates": gates}
        say(json.dumps(found, indent=1, ensure_ascii=True, allow_nan=False))
    else:
        _print_text(pairing, results, full)


def _print_text(pairing: Pairing, results: Sequence[GateResult], full: bool) -> None:
    """Every text a file holds is put in as text: no markup is read out of it, nothing in it can steer a terminal."""
    from rich.text import Text

    from reports.facts import paired

    parts = paired.parts(pairing, full=full)
    for letter, (name, what) in zip("AB", paired.header(pairing), strict=True):
        show(Text.assemble((f"{letter}  ", "bold"), _clean(f"{name}: {what}")))
    show("", _table(parts, (pairing.a.name, pairing.b.name)), "")
    if met := paired.match(pairing):
        show(Text(_clean(met)), "")
    show(*(Text.assemble(("Note: ", "yellow"), _clean(note)) for note in paired.notes(pairing)))
    hidden = sum(part.hidden for part in parts)
    if hidden:
        show(Text(f"{hidden:,} more metrics: --full", "dim"))
    show(Text(paired.EXPLANATION, "dim"))
    if results:
        show("", *_gates(results))


def _table(parts: Iterable[Part], names: tuple[str, str]) -> Columns:
    """All benchmarks in one table, so that their columns are aligned, each under its own title."""
    from rich.text import Text

    header = ("METRIC", *map(_clean, names), "B \u2212 A", "p", "n", "detects")
    table = Columns(header, right=(1, 2, 4, 5, 6), whole=(3,), heads=1)
    for part in parts:
        told = ((part.title, "bold"), (part.judge and f"Judge: {part.judge}", "dim"), (part.unlike, "yellow"))
        table.section(*(Text(_clean(text), style) for text, style in told if text))
        for line in part.lines:
            table.add(
                Text(_clean(line.label), "bold" if line.main else ""),
                line.a,
                line.b,
                _change(line.arrow, line.change, line.interval, _STYLES[line.tone]),
                *(Text(text, "dim") for text in (line.p, line.n, line.detects)),
            )
    return table


def _change(arrow: str, change: str, interval: str, style: str) -> Text:
    from rich.text import Text

    return Text.assemble(
        (f"{arrow or ' '} {change}" if change else "", style), (f" {interval}" if interval else "", "dim")
    )


def _gates(results: Sequence[GateResult]) -> list[Text]:
    from rich.text import Text

    return [
        Text.assemble(_SIGNS[r.status], "  ", _clean(f"{r.gate.text} ({r.benchmark}): {r.message}")) for r in results
    ]


def _clean(text: str) -> str:
    from reports.exports.escaping import line

    return line(text)
