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

from leaderboards.comparing import Contrast, OverSeeds, Together
from leaderboards.health.records import HEALTH, Health, Reading, Warned
from leaderboards.standings import write_record
from reports.exports import escaping, latex, tables
from reports.facts import reading as facts
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


def seeds(builder: Any, whole: Any) -> tuple[list[RunFacts], Together]:
    """Two seeds of one method and a run of another; what they come to is given."""
    first = facts.collect(whole.path)
    found = [
        first.model_copy(update={"name": f"s{k}", "settings": {**first.settings, "name": "micro", "seed": str(k)}})
        for k in range(2)
    ]
    control = {**first.settings, "name": "micro_50%", "rewards": "oracle"}
    found.append(first.model_copy(update={"name": "control", "settings": control}))
    asked = {"benchmark": QUALITY, "metric": "quality_sampled", "model": "M3"}
    over = OverSeeds(**asked, value=3.5, sd=0.1, low=3.2, high=3.8, n_seeds=2, n_prompts=256)
    gain = over.model_copy(update={"against": "M1", "value": 0.5, "low": 0.2, "high": 0.8})
    contrast = Contrast(**asked, a=1, b=0, value=0.4, low=0.1, high=0.7)
    gap = "mt-bench@1 could not be put together: <b>50%</b>"
    return found, Together(pooled=((over, gain), ()), contrasts=(contrast,), gaps=(gap,))


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
    assert len(lines) == len({(x["checkpoint"], x["benchmark"], x["metric"], x["against"]) for x in lines})
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


def test_settings_that_differ_are_in_words(builder: Any) -> None:
    for k, model in enumerate(("M1", "M2")):
        builder.result(model, ALPACA, conditions={"judge": "gpt-4"}, win_rate=50.0)
        path = builder.path / model / "eval" / ALPACA / "result.json"
        said = {"config_hash": f"{k}" * 32, "settings": {"seed": f"{k}", "limit": "none"}}
        path.write_text(json.dumps(json.loads(path.read_text()) | said))
    found = json.loads(tables.render(collect(builder), "json"))["settings"]
    assert found[1] == {
        "run": "demo", "checkpoint": "M2", "benchmark": ALPACA, "settings": {"seed": "1", "limit": "none"}
    }  # fmt: skip
    told = "seed: 0 (M1), 1 (M2)"
    assert f"Other settings, which need not be equal: {told}" in tables.render(collect(builder), "markdown")
    assert f"Settings that need not be equal: {told}." in tables.render(collect(builder), "latex")


def test_settings_are_a_column_in_words(builder: Any, difference: Callable[..., Any]) -> None:
    said = {
        "seed": "0",
        "eval.samples": "2",
        "prompts": "e4" * 16,
        "tasks.gsm8k.num_fewshot": "8",
        "=x": "1",
        "tasks.gsm8k.doc_to_text": "Q",
        "long": "word " * 30,
    }
    for model in ("M1", "M2"):
        builder.result(model, quality_sampled=3.0)
        path = builder.path / model / "eval" / QUALITY / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": said}))
    builder.standings([difference("M2", "M1", 0.1, -0.1, 0.3, "quality_sampled")])
    told = "seed=0; eval.samples=2; tasks.gsm8k.num_fewshot=8; =x=1"
    assert {line["settings"] for line in lines_of(tables.render(collect(builder), "csv"))} == {told}
    assert "Settings: seed=0; eval.samples=2" in tables.render(collect(builder), "markdown")


def test_health_stages_and_drift_are_in_the_exports(full: Any) -> None:
    runs = collect(full)
    health = Health(
        answers_from=QUALITY,
        readings=(
            Reading(measure="verdict_answers", model="M1", source="mt-bench@1", value=0.25, n=80, n_total=80),
            Reading(measure="chars", model="M1", source=QUALITY, value=None, n=0, n_total=80, reason="none"),
        ),
        warnings=(
            Warned(
                measure="verdict_answers",
                model="M1",
                source="mt-bench@1",
                value=0.25,
                limit=0.05,
                text="M1: Answers that hold a verdict 25 %.",
                why="",
            ),
        ),
    )
    write_record(full.path / HEALTH, health)
    (line,) = (x for x in lines_of(tables.render(runs, "csv")) if x["benchmark"] == "health")
    assert (line["metric"], line["value"], line["unit"]) == ("verdict_answers/mt-bench@1", "0.25", "share")
    found = json.loads(tables.render(runs, "json"))
    assert found["health"][0]["readings"][0]["value"] == 0.25
    assert [d["run"] for d in found["drift"]] == ["demo"]
    assert found["runs"][0]["settings"]["seed"] == "0"
    told = tables.render(runs, "markdown")
    assert "| Answers that hold a verdict | mt-bench\\@1 | 25.0 % |" in told
    assert "Warning: M1: Answers that hold a verdict 25 %." in told


def test_every_number_of_the_results_is_in_markdown_and_the_parts_in_latex(
    builder: Any, difference: Callable[..., Any]
) -> None:
    numbers = {"win_rate": 51.0, "win_rate/koala": 52.0, "brand_new": 53.0, "n_wins": 54.0}
    for model in ("M1", "M2"):
        builder.result(model, ALPACA, metrics=numbers)
    builder.standings([difference("M2", "M1", 7.0, 6.0, 8.0, "win_rate/koala", ALPACA)])
    told = tables.render(collect(builder), "markdown")
    assert all(f"{value:.0f}" in told for value in numbers.values())
    assert "### AlpacaEval (micro-world): Win rate, by part" in told
    assert "| AlpacaEval: Win rate, koala | M2 \N{MINUS SIGN} M1 | ▲ +7.0 [+6.0, +8.0]" in told
    text = tables.render(collect(builder), "latex")
    check_structure(text)
    assert r"koala (\%) & $52.0" in text


def test_intervals_over_seeds_are_in_every_format(builder: Any, whole: Any) -> None:
    runs, together = seeds(builder, whole)
    lines = [line for line in lines_of(tables.render(runs, "csv", together)) if line["seeds"]]
    names = ("run", "checkpoint", "metric", "against", "value", "low", "high", "n_scored", "seeds", "sd", "judge")
    assert [tuple(line[n] for n in names) for line in lines] == [
        ("micro", "M3", "quality_sampled", "", "3.5", "3.2", "3.8", "256", "2", "0.1", "oracle"),
        ("micro", "M3", "quality_sampled", "M1", "0.5", "0.2", "0.8", "256", "2", "0.1", "oracle"),
        ("micro_50%", "M3", "quality_sampled", "micro:M3", "0.4", "0.1", "0.7", "", "1", "", "oracle"),
    ]
    found = json.loads(tables.render(runs, "json", together))
    assert [f["value"] for f in found["results"] if f["seeds"]] == [3.5, 0.5, 0.4]
    assert found["methods"] == [{"method": "micro", "runs": ["s0", "s1"]}, {"method": "micro_50%", "runs": ["control"]}]
    assert {"run": "", "reason": together.gaps[0]} in found["missing"]
    told = tables.render(runs, "markdown", together)
    assert "3.50 ± 0.10 [3.20, 3.80]" in told
    assert "▲ +0.50 ± 0.10 [+0.20, +0.80]" in told
    assert r"micro\_50% − micro | ▲ +0.40 [+0.10, +0.70]" in told  # noqa: RUF001 - a minus
    assert r"could not be put together: \<b\>50%\</b\>" in told
    text = tables.render(runs, "latex", together)
    check_structure(text)
    assert r"$3.50 \pm 0.10$" in text
    assert r"$\mathbf{+0.50} \pm 0.10$" in text
    assert r"{\scriptsize$[+0.20,\,+0.80]$}" in text
    assert r"micro\_50\% $-$ micro" in " ".join(text.split())
    assert "differ in their seed" not in tables.render(runs[:1], "markdown")


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
    for spec, body in re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [x.strip() for x in body.split("\n") if x.strip().endswith(r"\\")]
        found.append((len(re.fullmatch(r"@\{\}(lr*)@\{\}", spec)[1]), rows))  # type: ignore[index]  # else it fails
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
    assert re.findall(r"\\label\{(.*?)\}", text) == [
        *("tab:main", "tab:micro-quality", "tab:micro-judge-accuracy", "tab:differences", "tab:head-to-head")
    ]
    assert r"\toprule" in text
    main = text.split(r"\end{table}")[0]
    assert r"True quality, sampled & $3.00^{\ast}$ & $3.30^{\ast}$ & $3.60^{\ast}$ \\" in main
    below = (r"{\scriptsize$[2.90,\,3.10]$}", r"{\scriptsize$[3.20,\,3.40]$}", r"{\scriptsize$[3.50,\,3.70]$}")
    assert f"\n    & {' & '.join(below)} " in main
    assert r"Pairwise accuracy, & $75.0" in main
    assert r"\quad human ranks (tie =" in main


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
    assert r"& ${\uparrow}2.00^{\ast}$ & $1.50^{\ast}$ \\" in text


def test_bold_is_what_is_shown_to_be_better_than_all_others(builder: Any, difference: Callable[..., Any]) -> None:
    numbers = {"M1": (0.20, 1.0, 20.0), "M2": (0.10, 2.0, 20.0), "M3": (0.05, 3.0, 30.0)}
    for model, (cut, quality, chars) in numbers.items():
        builder.result(model, truncated_sampled=cut, quality_sampled=quality, chars_sampled=chars)
    pairs = (("M2", "M1"), ("M3", "M2"), ("M3", "M1"))
    builder.standings(
        [
            *(difference(a, b, 1.0, 0.5, 1.5, "quality_sampled") for a, b in pairs),
            *(difference(a, b, 5.0, 1.0, 9.0, "chars_sampled") for a, b in pairs),
            difference("M3", "M1", -0.15, -0.2, -0.1, "truncated_sampled"),
            difference("M3", "M2", -0.05, -0.11, 0.01, "truncated_sampled"),
        ]
    )
    text = tables.render(collect(builder), "latex")
    rows = {line.split(" & ")[0].strip(): line for _, lines in tabulars(text) for line in lines}
    bold = {name: [r"\mathbf" in cell for cell in line.split(" & ")[1:]] for name, line in rows.items()}
    assert bold["True quality, sampled"] == [False, False, True]
    assert bold[r"Truncated, sampled (\%)"] == [False, False, False]  # the least, and not shown to be less than M2's
    assert bold["Answer length, sampled"] == [False, False, False]  # longer is not better


def test_bold_can_be_an_earlier_checkpoint(builder: Any, difference: Callable[..., Any]) -> None:
    for model, quality in (("M1", 3.0), ("M2", 2.0)):
        builder.result(model, quality_sampled=quality)
    builder.standings([difference("M2", "M1", -1.0, -1.5, -0.5, "quality_sampled")])
    text = tables.render(collect(builder), "latex")
    assert r"True quality, sampled & $\mathbf{3.00}^{\ast}$ & ${\downarrow}2.00^{\ast}$ \\" in text


def test_no_table_is_wider_than_the_line_nor_scaled(builder: Any) -> None:
    names = [f"checkpoint-{n}" for n in range(9)]
    for model in names:
        builder.result(model, ALPACA, win_rate=50.0, avg_length=1805.0)
    text = tables.render(collect(builder), "latex")
    assert "resizebox" not in text
    check_structure(text)
    headers = [rows[0].removesuffix(r" \\").split(" & ") for _, rows in tabulars(text)]
    assert [name for header in headers for name in header[1:]] == names
    assert {header[0] for header in headers} == {"Metric"}
    assert [len(header) - 1 for header in headers] == [5, 4]
    assert f"Part 2 of {len(headers)}." in text


def test_a_name_that_latex_has_no_letters_for_is_as_wide_as_its_codes(builder: Any) -> None:
    for model in ("\u05e0\u05de\u05e8" * 2, "\u6a21\u578b" * 3, "M1"):
        builder.result(model, ALPACA, win_rate=50.0)
    headers = [rows[0].removesuffix(r" \\").split(" & ")[1:] for _, rows in tabulars(render_latex(builder))]
    assert len(headers) > 1
    assert all(sum(8 * h.count("U+") for h in header) * 4.1 < latex.LINE for header in headers)


def test_what_could_not_be_paired_says_so(builder: Any, difference: Callable[..., Any]) -> None:
    for model in ("M1", "M2"):
        builder.result(model, "micro-judge-accuracy@1", own_pairwise_accuracy=0.6)
    own = difference("M2", "M1", -0.1, -0.2, -0.05, "own_pairwise_accuracy", "micro-judge-accuracy@1")
    builder.standings([own.model_copy(update={"paired": False})])
    assert "| 500 of 512 unpaired |" in tables.render(collect(builder), "markdown")
    assert "(unpaired)" in re.sub(r"\\\\\s*\\quad ", " ", render_latex(builder))


def render_latex(run: Any) -> str:
    return tables.render(collect(run), "latex")


def test_no_table_is_longer_than_a_page(builder: Any) -> None:
    metrics = {f"a measure of a long name, number {k}": 0.5 for k in range(70)}
    builder.result("M1", "own@1", metrics=metrics)
    text = tables.render(collect(builder), "latex")
    check_structure(text)
    parts = [table.count(r"\\") for table in text.split(r"\end{table}")[:-1]]
    assert len(parts) > 3
    assert max(parts) <= latex.PAGE + 1  # with its header
    assert len(re.findall(r"\$0\.5\$|50\.0|0\.50", text)) >= 70
    assert "Part 1 of" in text


def test_letters_of_the_report_are_letters_of_latex() -> None:
    told = escaping.latex("κ = 0.5 ≠ ≤ → − ρ ½ ± … 中")  # noqa: RUF001 - as the report writes it
    assert "$\\kappa$ = 0.5 $\\neq$ $\\leq$ $\\rightarrow$ $-$ $\\rho$" in told
    assert told.isascii()
    assert told.endswith("{[}U+4E2D{]}")


def test_head_to_head_is_in_every_format(full: Any) -> None:
    runs = collect(full)
    lines = [x for x in lines_of(tables.render(runs, "csv")) if x["benchmark"] == "head-to-head@1"]
    (found,) = (x for x in lines if (x["checkpoint"], x["against"], x["metric"]) == ("M3", "M1", "win_rate"))
    assert [float(found[k]) for k in ("value", "low", "high")] == [0.58, 0.54, 0.62]
    assert (found["n_scored"], found["n_total"], found["judge"], found["fingerprint"]) == (
        *("250", "256", "judge-x", "f-M3"),
    )
    assert {(x["checkpoint"], x["value"]) for x in lines if x["metric"] == "rating"} >= {("M0", "900.0")}
    as_json = json.loads(tables.render(runs, "json"))
    assert {(h["a"], h["b"]) for h in as_json["head_to_head"]} >= {("M3", "M1")}
    markdown = tables.render(runs, "markdown")
    assert "| M3 vs M1 | ▲ 58.0 % [54.0, 62.0] | 30.0 % | 56.0 % | 14.0 % | 250 of 256 |" in markdown
    assert "| M0 | 900 [880, 920] | 9 |" in markdown
    latex = tables.render(runs, "latex")
    assert r"M3 vs M1 & $\mathbf{58.0}$ & 30.0 & 56.0 & 14.0 & 250 of 256 \\" in latex


def test_the_oracles_matches_count_where_there_was_no_tournament(whole: Any) -> None:
    found = json.loads(tables.render(collect(whole), "json"))
    assert [(h["a"], h["b"], h["judge"]) for h in found["head_to_head"]] == [("M3", "M1", "oracle")]


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
    assert r"$-1{,}234^{\ast}$" in text
    assert r"{\scriptsize$[-1{,}235,\,-1{,}234]$}" in text
    assert r"Win rate (\%) & -- & -- \\" in text


@pytest.mark.parametrize("runs", [1, 2])
def test_hostile_latex_is_whole_and_inert(builder: Any, runs: int) -> None:
    built = [hostile(builder), hostile(other(builder, "second"))][:runs]
    text = tables.render(collect(*built), "latex")
    check_structure(text)
    assert r"\input" not in text
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert text.isascii()


def test_a_main_table_of_a_run_is_one_and_fits_a_line_of_article(builder: Any) -> None:
    models = ("M0", "SFT", "M1", "M2", "M3")
    for model in models:
        builder.result(model, quality_sampled=3.0)
        builder.result(model, "micro-judge-accuracy@1", pairwise_accuracy=0.755, spearman=-0.055)
    text = tables.render(collect(builder), "latex")
    assert r"Metric & M0 & SFT & M1 & M2 & M3 \\" in text.split(r"\end{table}")[0]
    assert r"{\scriptsize$[-.155,\,.045]$}" in text  # of what is never above 1, no nought


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX engine is installed")
def test_latex_compiles(builder: Any, whole: Any, tmp_path: Path) -> None:
    runs, together = seeds(builder, whole)
    of_several = tables.render([*runs, *collect(hostile(other(builder, "second")))], "latex", together)
    body = of_several + tables.render(collect(hostile(other(builder, "third")), whole), "latex")
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage[T1]{fontenc}\begin{document}"
    (tmp_path / "x.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Too many unprocessed floats" not in done.stdout


def test_paired_differences_are_lines_of_the_csv_with_what_is_taken_away(whole: Any) -> None:
    compared = facts.collect(whole.path).standings
    assert compared is not None
    stored = next(d for d in compared.differences if d.metric == "quality_sampled")
    (line,) = (
        x
        for x in lines_of(tables.render(collect(whole), "csv"))
        if (x["metric"], x["checkpoint"], x["against"]) == (stored.metric, stored.a, stored.b)
    )
    assert [float(line[k]) for k in ("value", "low", "high")] == [stored.value, stored.low, stored.high]
    assert (line["n_scored"], line["n_total"]) == (str(stored.n), str(stored.n_total))
    assert line["fingerprint"] == f"f-{stored.a}"
