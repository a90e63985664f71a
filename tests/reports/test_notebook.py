"""What a notebook shows: tables and plots in one small piece of HTML that runs nothing and asks nobody."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from html import unescape
from pathlib import Path

import pytest

from leaderboards.comparing.pairing import locate, pair
from leaderboards.comparing.records import PairedBenchmark, PairedMetric, Pairing, Side, Unlike
from leaderboards.evaluation import Evaluation
from leaderboards.standings import MetricDifference, Rating, Tournament
from reports import notebook
from reports.facts import paired
from reports.facts.reading import collect
from selfreward_bench.types import EvalResult, Metric

from . import whole_run
from .conftest import ALL, RunBuilder
from .test_hostile import HARMLESS, HIDDEN, PAYLOADS, Structure

ELEMENTS = {"div", "p", "strong", "small", "table", "thead", "tbody", "tr", "th", "td", "svg", "text", "line", "circle"}
LIMIT = 200_000  # bytes
SOME = Metric(value=0.5, low=0.4, high=0.6, n_scored=9, n_total=10)


def result(checkpoint: str, benchmark: str, judge: str, metrics: Sequence[str]) -> EvalResult:
    return EvalResult(
        checkpoint=checkpoint, fingerprint="f", benchmark=benchmark, judge=judge, metrics=dict.fromkeys(metrics, SOME),
        config_hash="c", versions={}, seconds=0.0,
    )  # fmt: skip


def evaluation(texts: Sequence[str], models: int = 3, benchmarks: int = 3) -> Evaluation:
    """One in which every name is one of the texts."""
    text = lambda n: texts[n % len(texts)]  # noqa: E731
    names = [f"{text(m)} {m}" for m in range(models)]
    keys = [f"{text(20 + b)} {b}@1" for b in range(benchmarks)] + ["micro-quality@1"]
    results = [
        result(name, key, text(40 + b), ["quality_sampled", text(50 + b), text(60 + b)])
        for b, key in enumerate(keys)
        for name in names
    ]
    ratings = tuple(Rating(checkpoint=n, rating=1000.0, n_scored=1, n_total=1) for n in names)
    tournament = Tournament(
        benchmark="head-to-head@1", checkpoints=dict.fromkeys(names, "f"), judge=text(70), rule="agree",
        anchor=names[0], n_prompts=1, pairs=(), ratings=ratings, comparability={},
    )  # fmt: skip
    return Evaluation(Path("x"), tuple(results), (text(71), text(72)), tournament)


def pairing(texts: Sequence[str], benchmarks: int = 3, metrics: int = 3) -> Pairing:
    text = lambda n: texts[n % len(texts)]  # noqa: E731
    difference = MetricDifference(
        benchmark="b", metric="m", a="a", b="b", value=0.1, low=0.05, high=0.2, p_value=0.01, n=9, n_total=9
    )
    found = [
        PairedBenchmark(
            benchmark=f"{text(10 + b)}@{b}",
            judges=(text(30 + b), text(31 + b)),
            unlike=(Unlike(condition=text(40 + b), a=text(50 + b), b=text(51 + b)),),
            metrics=tuple(
                PairedMetric(
                    metric=text(60 + b + m) or "m", a=SOME, b=SOME, difference=difference, main=m == 0, featured=True
                )
                for m in range(metrics)
            ),
        )
        for b in range(benchmarks)
    ]
    sides = [Side(name=text(i), given=text(i + 2), checkpoint="c", fingerprint="f", absent=(text(5),)) for i in (0, 1)]
    return Pairing(a=sides[0], b=sides[1], benchmarks=tuple(found))


def assert_harmless(shown: str, like: str) -> None:
    """It has the elements and attributes that harmless words get, none of which act."""
    found = Structure(shown).found
    assert found == Structure(like).found
    assert {tag.split()[0] for tag in found if not tag.startswith("/")} <= ELEMENTS
    attributes = {name for tag in found for name in tag.split()[1:]}
    assert not {name for name in attributes if name.startswith("on") or name in ("href", "src", "id")}
    assert not re.search(HIDDEN, shown)
    assert len(shown.encode()) < LIMIT


@pytest.mark.parametrize("shift", range(0, len(PAYLOADS), 9))
def test_hostile_names_make_the_same_html_as_harmless_ones(shift: int, tmp_path: Path) -> None:
    texts = PAYLOADS[shift:] + PAYLOADS[:shift]
    assert_harmless(notebook.evaluation(evaluation(texts)), notebook.evaluation(evaluation(HARMLESS)))
    assert_harmless(notebook.pairing(pairing(texts)), notebook.pairing(pairing(HARMLESS)))


def test_a_hostile_run(tmp_path: Path) -> None:
    template = whole_run.write(tmp_path / "template" / "run")
    shown = []
    for name, texts in (("harmless", HARMLESS), ("hostile", PAYLOADS)):
        copy = shutil.copytree(template, tmp_path / name)
        shown.append(notebook.run(collect(whole_run.fill(copy, texts, 3))))
    assert_harmless(shown[1], shown[0])


def test_nothing_is_taken_for_mathematics() -> None:
    r"""Notebooks typeset ``$\href{javascript:...}{x}$`` unless they are told not to."""
    for shown in (notebook.evaluation(evaluation(["$x$"])), notebook.pairing(pairing(["$x$"]))):
        assert shown.startswith('<div class="srbench tex2jax_ignore mathjax_ignore">')


@pytest.mark.slow
@pytest.mark.parametrize("text", ["<" * 5_000, "\u202e" * 5_000, "&'\"" * 2_000])
def test_it_stays_small(text: str) -> None:
    texts = [f"{n}{text}" for n in range(80)]
    for shown in (
        notebook.evaluation(evaluation(texts, models=200, benchmarks=60)),
        notebook.pairing(pairing(texts, 60)),
    ):
        assert len(shown.encode()) < LIMIT
        Structure(shown)
        assert " more " in shown  # what is left out is told


# --- what is shown


def test_an_evaluation(full: RunBuilder) -> None:
    found = Evaluation.load(full.path)
    shown = notebook.evaluation(found)
    assert shown.count("<svg") == 6  # of the main metric of as many benchmarks as there is room for
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", shown)
    assert cells[1 : 1 + len(ALL)] == list(ALL)
    row = cells.index("True quality, sampled")
    quality = [r.metrics["quality_sampled"].value for r in found.results if r.benchmark == "micro-quality@1"]
    assert [cell.split()[0] for cell in cells[row + 1 : row + 1 + len(ALL)]] == [f"{v:.2f}" for v in quality]
    assert "(507 of 512)" in cells[row + 1]
    for model in ALL:
        assert shown.count(f'text-anchor="end">{model}</text>') == 6


def test_numbers_that_were_not_made_alike_are_told(builder: RunBuilder) -> None:
    for model, judge in (("M1", "one judge"), ("M2", "another")):
        builder.result(model, "alpaca-eval@1", judge=judge, conditions={"judge": judge}, win_rate=50.0)
        builder.result(model, quality_sampled=3.0)
    for shown in (notebook.evaluation(Evaluation.load(builder.path)), notebook.run(collect(builder.path))):
        assert shown.count("NOT COMPARABLE: AlpacaEval, ") == 1
        assert "one judge" in shown.partition("NOT COMPARABLE")[2]
        assert "NOT COMPARABLE: Answer quality" not in shown


def test_an_evaluation_without_results_tells_what_failed() -> None:
    shown = notebook.evaluation(Evaluation(Path("out"), (), ("M1: no <data>",)))
    assert "Failed: M1: no &lt;data&gt;" in shown
    assert "<table" not in shown
    assert "<svg" not in shown


def test_numbers_that_are_none() -> None:
    odd = Metric(value=float("nan"), low=None, high=float("inf"), n_scored=0, n_total=3)
    results = [result(n, "micro-quality@1", "j", ()) for n in ("M1", "M2")]
    results[1] = results[1].model_copy(update={"metrics": {"quality_sampled": odd}})
    shown = notebook.evaluation(Evaluation(Path("x"), tuple(results)))
    assert "—" in shown
    assert "nan" not in shown
    assert "<svg" not in shown


def test_a_run(whole: RunBuilder) -> None:
    shown = notebook.run(collect(whole.path))
    assert "demo: recipe " in shown
    assert "M1, M2 and M3 made" in shown
    assert "Does the model become a better judge?" in shown
    assert shown.count("<svg") == 2
    assert "3.60 [3.50, 3.70]; vs M2 +0.30 [\u22120.10, +0.70]" in shown


def test_a_run_of_which_nothing_is_made(builder: RunBuilder) -> None:
    shown = notebook.run(collect(builder.path))
    assert "no model is made yet" in shown
    assert "<svg" not in shown


def test_a_comparison(two_results: Path) -> None:
    found = pair(locate(f"{two_results}:M1"), locate(f"{two_results}:M2"))
    shown = notebook.pairing(found)
    assert "<strong>M2 against M1</strong>" in shown
    assert "▲ +0.50" in shown
    assert shown.count("<svg") == 1
    assert shown.count("<circle") == 1  # the main metric
    assert paired.EXPLANATION in unescape(shown)


@pytest.fixture
def two_results(tmp_path: Path) -> Path:
    """A run with results of M1 and M2, which is better by half a point for sure."""
    from ..selfreward_bench.cli.conftest import store_results

    store_results(tmp_path / "run")
    return tmp_path / "run"
