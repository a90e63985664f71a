"""CSV, JSON, Markdown and LaTeX: complete, in the right units, and safe with hostile names."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.exports import tables
from reports.facts import run as facts
from reports.facts.run import RunFacts
from selfreward_bench.errors import UnknownNameError

QUALITY, ALPACA = "micro-quality@1", "micro-alpaca-eval@1"
HOSTILE = '=HYPERLINK("http://e.example";"x")&|\\input{/etc/passwd}%$#_^~{}[*]-- <b>\x1b[31m\u202e\n\\\\ [x] 中'


def collect(*builders: Any) -> list[RunFacts]:
    return [facts.collect(b.path) for b in builders]


def other(builder: Any, name: str) -> Any:
    return type(builder)(builder.path.parent.parent / name / builder.path.name)


def hostile(builder: Any) -> Any:
    for model in ("M1", "M2"):
        builder.result(model, judge=HOSTILE, quality_sampled=3.0)
        builder.result(model, "own=bench@1", judge=HOSTILE, metrics={HOSTILE: 1.0, "=2": 2.0})
    return builder


# --- CSV and JSON


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_line_per_number(whole: Any) -> None:
    lines = lines_of(tables.render(collect(whole), "csv"))
    assert list(lines[0])[:7] == ["run", "checkpoint", "benchmark", "metric", "value", "low", "high"]
    found = next(line for line in lines if (line["checkpoint"], line["metric"]) == ("M2", "quality_sampled"))
    assert {k: found[k] for k in ("run", "benchmark", "unit", "n_scored", "n_total", "judge", "fingerprint")} == {
        "run": "demo",
        "benchmark": QUALITY,
        "unit": "points",
        "n_scored": "507",
        "n_total": "512",
        "judge": "oracle",
        "fingerprint": "f-M2",
    }
    assert [float(found[k]) for k in ("value", "low", "high")] == pytest.approx([3.3, 3.2, 3.4])
    assert len(lines) == len({(x["checkpoint"], x["benchmark"], x["metric"]) for x in lines})
    assert {x["checkpoint"] for x in lines} == {"M1", "M2", "M3"}


def test_comparability_is_one_hash_for_what_may_be_compared(builder: Any) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4"), ("M3", "gpt-4o")):
        builder.result(model, ALPACA, conditions={"judge": judge}, win_rate=50.0)
    a, b, c = (line["comparability"] for line in lines_of(tables.render(collect(builder), "csv")))
    assert a == b != c
    assert re.fullmatch(r"[0-9a-f]{16}", a)


def test_csv_never_begins_a_text_like_a_formula(builder: Any) -> None:
    lines = lines_of(tables.render(collect(hostile(builder)), "csv"))
    texts = [line[k] for line in lines for k in ("run", "checkpoint", "benchmark", "metric", "judge")]
    assert not [t for t in texts if t[:1] in tuple("=+-@\t\r\n")]
    assert any(t.startswith("'=HYPERLINK(") for t in texts)
    assert "'=2" in texts
    assert "\x1b" not in "".join(texts)


def test_negative_numbers_stay_numbers(builder: Any) -> None:
    builder.result("M1", "micro-judge-accuracy@1", spearman=-0.25)
    (line,) = lines_of(tables.render(collect(builder), "csv"))
    assert float(line["value"]) == -0.25


def test_what_is_no_number_is_empty(builder: Any) -> None:
    builder.result("M1", quality_sampled=None)
    (line,) = lines_of(tables.render(collect(builder), "csv"))
    assert (line["value"], line["low"], line["n_scored"]) == ("", "", "507")
    path = builder.path / "M1" / "eval" / QUALITY / "result.json"
    path.write_text(path.read_text().replace('"value": null', '"value": NaN'), encoding="utf-8")
    found = json.loads(tables.render(collect(builder), "json"), parse_constant=lambda x: pytest.fail(x))
    assert [r["value"] for r in found["results"]] == [None]


def test_json_has_the_same_facts_and_the_differences(whole: Any) -> None:
    runs = collect(whole)
    found = json.loads(tables.render(runs, "json"))
    lines = lines_of(tables.render(runs, "csv"))
    assert [(r["checkpoint"], r["metric"], r["value"]) for r in found["results"]] == [
        (x["checkpoint"], x["metric"], float(x["value"])) for x in lines
    ]
    assert {(d["a"], d["b"]) for d in found["differences"]} == {("M3", "M1"), ("M3", "M2")}
    assert [m["run"] for m in found["missing"]] == ["demo"] * len(runs[0].gaps)


def test_two_runs_of_one_name_are_told_apart(whole: Any) -> None:
    second = other(whole, "elsewhere")
    second.result("M1", quality_sampled=1.0)
    names = {line["run"] for line in lines_of(tables.render(collect(whole, second), "csv"))}
    assert names == {"demo", "demo (2)"}


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="format 'xml'"):
        tables.render([], "xml")


# --- Markdown


def test_markdown_shows_values_with_what_is_missing_and_differences(whole: Any) -> None:
    text = tables.render(collect(whole), "markdown")
    assert "| Metric | M1 | M2 | M3 |" in text
    assert "| True quality, sampled | 3.00 [2.90, 3.10] (507 of 512) | 3.30 [3.20, 3.40] (507 of 512) |" in text
    assert "M3 − M1 | ▲ +0.60 [+0.40, +0.80] | 500 of 512 |" in text  # noqa: RUF001
    assert "M3 − M2 | +0.30 [−0.10, +0.70] | 500 of 512 |" in text  # noqa: RUF001


@pytest.mark.parametrize("runs", [1, 2])
def test_hostile_markdown_is_whole_tables(builder: Any, runs: int) -> None:
    built = [hostile(builder), hostile(other(builder, "second"))][:runs]
    text = tables.render(collect(*built), "markdown")
    blocks = [b.split("\n") for b in text.split("\n\n") if b.startswith("|")]
    assert blocks
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert not re.search(r"(?<!\\)[<>]", text)
    assert "http://" not in text


# --- LaTeX


def tabulars(text: str) -> list[tuple[int, list[str]]]:
    """Each table's number of columns and its rows."""
    found = []
    for spec, body in re.findall(r"\\begin\{tabular\}\{(.*)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [x.strip() for x in body.split("\n") if x.strip().endswith(r"\\")]
        found.append((1 + len(re.search(r"(r*)$", spec)[1]), rows))  # type: ignore[index]  # it matches anything
    return found


def check_structure(text: str) -> None:
    plain = re.sub(r"(?<!\\)%.*", "", text)
    assert plain.count(r"\begin{table}") == plain.count(r"\end{table}") == plain.count(r"\caption{")
    assert len(set(re.findall(r"\\label\{(.*?)\}", plain))) == plain.count(r"\label{")
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", plain):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", plain)) % 2 == 0
    assert not re.search(r"(?<!\\)[#~]", plain)
    for columns, rows in tabulars(plain):
        for line in rows:
            spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + spans == columns, line
            assert not line.startswith(("[", "*"))


def test_latex_has_a_main_table_and_one_per_benchmark(whole: Any) -> None:
    text = tables.render(collect(whole), "latex")
    check_structure(text)
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:main", "tab:micro-quality", "tab:micro-judge-accuracy"]
    assert r"\toprule" in text
    main = text.split(r"\end{table}")[0]
    assert (
        r"True quality, sampled & $3.00^{\ast}_{[2.90,3.10]}$ & $3.30^{\ast}_{[3.20,3.40]}$ & "
        r"$\mathbf{3.60}^{\ast}_{[3.50,3.70]}$ \\"
    ) in main
    assert r"Pairwise accuracy, human ranks (tie = $\frac{1}{2}$) (\%)" in main


def test_arrows_stand_for_paired_differences_to_the_checkpoint_before(
    builder: Any, difference: Callable[..., Any]
) -> None:
    for model, value in (("M1", 1.0), ("M2", 2.0), ("M3", 1.5)):
        builder.result(model, quality_sampled=value)
    builder.standings(
        [
            difference("M2", "M1", 1.0, 0.5, 1.5, "quality_sampled"),
            difference("M3", "M2", -0.5, -1.0, 0.1, "quality_sampled"),
            difference("M3", "M1", 0.5, 0.2, 0.8, "quality_sampled"),
        ]
    )
    text = tables.render(collect(builder), "latex")
    assert r"& ${\uparrow}\mathbf{2.00}^{\ast}_{[1.90,2.10]}$ & $1.50^{\ast}_{[1.40,1.60]}$ \\" in text


def test_best_is_what_the_metric_calls_better(builder: Any) -> None:
    numbers = {"M1": (0.20, 20.0), "M2": (0.101, 20.0), "M3": (0.1009, 30.0)}
    for model, (cut, chars) in numbers.items():
        builder.result(model, truncated_sampled=cut, chars_sampled=chars)
    text = tables.render(collect(builder), "latex")
    rows = {line.split(" & ")[0].strip(): line for _, lines in tabulars(text) for line in lines}
    assert [r"\mathbf" in cell for cell in rows[r"Truncated, sampled (\%)"].split(" & ")[1:]] == [False, True, True]
    assert r"\mathbf" not in rows["Answer length, sampled"]


def test_nothing_is_best_among_unlike_numbers(builder: Any) -> None:
    for model, judge in (("M1", "gpt-4"), ("M2", "gpt-4o")):
        builder.result(model, ALPACA, conditions={"judge": judge}, win_rate=50.0 + len(judge))
    text = tables.render(collect(builder), "latex")
    assert r"\mathbf" not in text
    assert "Not alike" in text


def test_thousands_and_missing_numbers(builder: Any) -> None:
    builder.result("M1", ALPACA, avg_length=-1234.5, win_rate=None)
    builder.result("M2", ALPACA, avg_length=math.pi)
    text = tables.render(collect(builder), "latex")
    assert r"$-1{,}234.5^{\ast}_{[-1{,}234.6,-1{,}234.4]}$" in text
    assert r"Win rate (\%) & -- & -- \\" in text


@pytest.mark.parametrize("runs", [1, 2])
def test_hostile_latex_is_whole_and_inert(builder: Any, runs: int) -> None:
    built = [hostile(builder), hostile(other(builder, "second"))][:runs]
    text = tables.render(collect(*built), "latex")
    check_structure(text)
    assert r"\input" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert text.isascii()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX engine is installed")
def test_latex_compiles(builder: Any, whole: Any, tmp_path: Path) -> None:
    body = tables.render(collect(hostile(other(builder, "second")), whole), "latex")
    head = r"\documentclass{article}\usepackage{array,booktabs,graphicx}\usepackage[T1]{fontenc}\begin{document}"
    (tmp_path / "x.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
