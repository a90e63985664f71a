"""JUnit XML and the Markdown summary: valid, complete, and safe with hostile names."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing, Side, Unlike
from leaderboards.standings import HeadToHead, MetricDifference
from reports.exports import ci
from reports.exports.escaping import latex, markdown, spreadsheet
from reports.exports.gates import evaluate, parse
from reports.facts import paired
from selfreward_bench.types import Metric

KEY = "micro-nlp@1"
HOSTILE = "]]>\"'<x a=1>&amp;|`*_[y](https://e.example)\n| --- |\x00\x1b[31m\u202e\ud800@me #1 www.e.example"


def pairing(name: str = "M2", judge: str | None = "oracle", unlike: tuple[Unlike, ...] = ()) -> Pairing:
    def metric(key: str, low: float, high: float, p_holm: float | None) -> PairedMetric:
        value = (low + high) / 2
        difference = MetricDifference(
            benchmark=KEY,
            metric=key,
            a=name,
            b="M1",
            value=value,
            low=low,
            high=high,
            p_value=0.01,
            n=90,
            n_total=99,
            detectable=0.031,
        )
        numbers = [Metric(value=v, n_scored=90, n_total=99) for v in (0.5, 0.5 + value)]
        return PairedMetric(
            metric=key,
            a=numbers[0],
            b=numbers[1],
            difference=None if unlike else difference,
            p_holm=p_holm,
            main=p_holm is not None,
            featured=key != "micro_fact",
        )

    metrics = (metric("average", 0.01, 0.03, 0.0004), metric("micro_sort", -0.01, 0.02, None))
    return Pairing(
        a=Side(name="M1", given="runs/first:M1", checkpoint="M1", fingerprint="a" * 32),
        b=Side(name=name, given=f"runs/{name}", checkpoint="M2", fingerprint="b" * 32, absent=("mt-bench@1",)),
        benchmarks=(
            PairedBenchmark(
                benchmark=KEY,
                judges=(judge, judge),
                unlike=unlike,
                compared=not unlike,
                incomplete=(0, 2),
                metrics=(*metrics, metric("micro_fact", 0, 1, None)),
            ),
        ),
    )


def junit(found: Pairing, *gates: str) -> ET.Element:
    return ET.fromstring(ci.junit(found, evaluate([parse(g) for g in gates], found)))  # noqa: S314 - our own


def test_a_case_per_gate_with_its_outcome() -> None:
    root = junit(pairing(), "nlp/average<0", "micro_sort?<0", "mt-bench/grade<0")
    suite = root.find("testsuite")
    assert suite is not None
    counts = {"tests": "3", "failures": "1", "errors": "1", "skipped": "0"}
    assert counts.items() <= suite.attrib.items()
    assert {k: root.get(k) for k in ("tests", "failures", "errors")} == {
        k: counts[k] for k in ("tests", "failures", "errors")
    }
    cases = suite.findall("testcase")
    assert [c.get("name") for c in cases] == ["nlp/average<0", "micro_sort?<0", "mt-bench/grade<0"]
    assert [[child.tag for child in c] for c in cases] == [["system-out"], ["failure"], ["error"]]
    assert all(c.get("classname") and c.get("time") for c in cases)
    failure = cases[1].find("failure")
    assert failure is not None
    assert "may be below 0" in (failure.get("message") or "")


def test_hostile_names_leave_valid_xml() -> None:
    root = junit(pairing(HOSTILE), "nlp/average<0")
    shown = root.findall(".//property")[2].get("value") or ""
    assert shown.startswith("runs/]]>\"'<x a=1>&amp;")
    assert "[U+001B]" in shown
    assert "[U+D800]" in shown


def tables_of(text: str) -> list[list[str]]:
    lines = text.split("\n")
    return [
        [x for x in block.split("\n") if x] for block in re.split(r"\n\n+", "\n".join(lines)) if block.startswith("|")
    ]


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line)) - 1


@pytest.mark.parametrize("name", ["M2", HOSTILE])
def test_the_summary_is_whole_tables(name: str) -> None:
    found = pairing(name, judge=name)
    text = ci.summary(found, evaluate([parse("nlp/average<0"), parse("micro_sort?<0")], found))
    tables = tables_of(text)
    assert len(tables) == 2
    for table in tables:
        assert len({cells(line) for line in table}) == 1
        assert re.fullmatch(r"\|(:?-+:?\|)+", table[1])
    assert not re.search(r"(?<!\\)[<>]", text.replace("<0.001", ""))
    assert "https://" not in text
    assert "[y](" not in text
    text.encode()


def test_the_summary_tells_the_numbers() -> None:
    text = ci.summary(pairing(), [])
    assert "| **Average of the tasks** | 50.0 % | 52.0 % | ▲ +2.0 [+1.0, +3.0] | <0.001 | 90 of 99 | ±3.1 |" in text
    assert "| Sorting (exact match) | 50.0 % | 50.5 % | +0.5 [−1.0, +2.0] |  | 90 of 99 | ±3.1 |" in text  # noqa: RUF001
    assert "Facts (strict match)" not in text
    assert "Facts (strict match)" in ci.summary(pairing(), [], full=True)
    assert "M2 has no result of mt-bench@1" in text.replace("\\", "")
    assert "2 samples of micro-nlp@1 failed" in text.replace("\\", "")


def test_a_part_is_named_after_its_whole_unless_it_has_a_name() -> None:
    number = Metric(value=0.5, n_scored=9, n_total=9)
    parts = [PairedMetric(metric=m, a=number, b=number) for m in ("micro_fact/flexible-extract", "micro_sort/x")]
    found = pairing()
    benchmark = found.benchmarks[0].model_copy(update={"metrics": tuple(parts)})
    (part,) = paired.parts(found.model_copy(update={"benchmarks": (benchmark,)}), full=True)
    assert [line.label for line in part.lines] == ["Facts (flexible match)", "Sorting (exact match): x"]


def test_unlike_conditions_are_told() -> None:
    unlike = (Unlike(condition="judge", a="gpt-4", b="gpt-4o"), Unlike(condition="data", a="", b="d2"))
    (part,) = paired.parts(pairing(unlike=unlike))
    assert part.unlike == "Not compared: judge: gpt-4 (M1), gpt-4o (M2); data: not stated (M1), d2 (M2)"
    assert all(not line.change and line.a for line in part.lines)


@pytest.mark.parametrize(("first", "rate"), [("M2", "▲ 60.0 %"), ("M1", "▼ 40.0 %")])
def test_head_to_head_is_told_from_the_side_of_the_second(first: str, rate: str) -> None:
    other = {"M1": "M2", "M2": "M1"}[first]
    shares = {"win_rate": 0.6, "low": 0.55, "high": 0.7, "p_value": 0.1, "win": 0.5, "tie": 0.2, "loss": 0.3}
    counts = {"n_scored": 100, "n_total": 120, "n_prompts": 120, "wins": 50, "ties": 20, "losses": 30}
    match = HeadToHead.model_validate({"benchmark": "h", "judge": "j", "a": first, "b": other, **shares, **counts})
    told = paired.match(pairing().model_copy(update={"head_to_head": match}))
    wins = 50 if first == "M2" else 30
    assert told.startswith(
        f"Head to head on 100 of 120 comparisons, M2 wins {wins}, ties 20 and loses {80 - wins}: win rate {rate}"
    )


# --- escaping


def test_text_that_would_be_markup_or_a_formula() -> None:
    assert markdown("- [a](b) | <i>\n# c") == r"\- \[a\](b) \| \<i\> \# c"
    assert markdown("1. x") == r"1\. x"
    for text in ("=1+1", "+1", "-1", "@x", "\t=1", " =1", "\n=1", "\uff1d1"):
        assert spreadsheet(text).startswith("'"), text
    assert spreadsheet("\r=1") == "[U+000D]=1"
    assert spreadsheet("M2") == "M2"
    assert latex(r"\input{/etc/passwd} 5% $x$ a_b #1 ^~&") == (
        r"\textbackslash{}input\{/etc/passwd\} 5\% \$x\$ a\_b \#1 \textasciicircum{}\textasciitilde{}\&"
    )
    assert latex("é ½ 中 \x00") == r"é $\frac{1}{2}$ {[}U+4E2D{]} {[}U+0000{]}"
