"""The tables after `eval`: every metric of every benchmark in any terminal, whatever models and judges are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import RenderableType

from leaderboards.metrics import BUILT_IN
from leaderboards.standings import HeadToHead, Rating, Tournament, write_record
from selfreward_bench import recipes
from selfreward_bench.cli.console import show
from selfreward_bench.cli.tables import compact_table, match_table, metric_table, remarks
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Metric

from .conftest import Cli, Terminal, assert_fits, unstyled

Capture = pytest.CaptureFixture[str]

JUDGE = "openai:judge@http://127.0.0.1:8000/v1, asked as weighted_alpaca_eval_gpt4_turbo (not comparable)"
RUN = ("M0", "SFT", "M1", "M2", "M3")
HUB = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3")
HOSTILE = (
    "[bold]M1[/bold] :smile: [link=http://x]y[/link]",
    "\x1b[2J\x1b]0;title\x07\u202e\n\t",
    "模型" * 30,
    "x" * 300,
)
#: what is said in a narrow terminal alone
NARROW = ("≥", "Intervals", "Intervals,", "and", "all", "what", "is", "scored", "of", "each", "checkpoint,")


def result(checkpoint: str, benchmark: str, metrics: Sequence[str], judge: str = JUDGE, **fields: Any) -> EvalResult:
    """Numbers as wide as they come, and not of all samples."""
    n = 12_345 - len(checkpoint)
    number = Metric(value=-0.5, low=-0.625, high=0.75, n_scored=n, n_total=12_345)
    return EvalResult(
        checkpoint=checkpoint,
        fingerprint="f" * 32,
        benchmark=benchmark,
        judge=judge,
        metrics=dict.fromkeys(metrics, number),
        config_hash="c",
        versions={},
        seconds=1.0,
        **fields,
    )


def everything(names: Sequence[str]) -> list[EvalResult]:
    return [result(name, benchmark, list(told.metrics)) for name in names for benchmark, told in BUILT_IN.items()]


def tournament(names: Sequence[str]) -> Tournament:
    net = Metric(value=0.54, low=-0.31, high=0.714, n_scored=9, n_total=9)
    pairs = [
        HeadToHead(
            benchmark="head-to-head@1",
            judge=JUDGE,
            a=a,
            b=b,
            win_rate=0.5,
            low=0.4,
            high=0.6,
            p_value=0.5,
            win=0.698,
            tie=0.143,
            loss=1.0,
            net_win=net,
            n_scored=12_345,
            n_total=12_345,
            n_prompts=12_345,
        )
        for i, a in enumerate(names)
        for b in names[:i]
    ]
    ratings = [Rating(checkpoint=n, rating=1234.5, low=1, high=2, n_scored=1, n_total=1) for n in names]
    return Tournament(
        benchmark="head-to-head@1",
        checkpoints=dict.fromkeys(names, "f"),
        judge=JUDGE,
        rule="agree",
        anchor=names[0],
        n_prompts=8,
        pairs=tuple(pairs),
        ratings=tuple(ratings),
        comparability={},
    )


def printed(capsys: Capture, *parts: RenderableType) -> str:
    show(*parts)
    return unstyled(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(("names", "width"), [(("M1",), 80), (RUN, 80), (RUN, 120), (RUN, 200), (HUB, 80), (HUB, 200)])
def test_no_line_is_longer_than_the_terminal_and_no_word_is_broken(
    capsys: Capture, terminal: Terminal, names: Sequence[str], width: int
) -> None:
    results, met = everything(names), match_table(tournament(names))
    compact = printed(capsys, compact_table(results, 10**6)).replace("(", " ").replace(")", " ")
    full, matches = printed(capsys, metric_table(results)), printed(capsys, *met)
    terminal(width)
    assert_fits(printed(capsys, metric_table(results)), width, full)
    assert_fits(printed(capsys, *met), width, matches)
    narrow = printed(capsys, compact_table(results, width))
    assert_fits(narrow, width)
    if names != HUB:  # a long name over a narrow column of numbers is broken
        assert_fits(narrow.replace("(", " ").replace(")", " "), width, compact, *NARROW)


def test_a_hub_id_over_numbers_is_whole_where_it_fits(capsys: Capture, terminal: Terminal) -> None:
    terminal(120)
    shown = printed(capsys, compact_table(everything(HUB[:2]), 120))
    assert all(name in shown for name in HUB[:2])


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_hostile_names_neither_steer_the_terminal_nor_leave_their_columns(
    capsys: Capture, terminal: Terminal, width: int
) -> None:
    results = [result(name, name, [name], judge=name) for name in HOSTILE]
    terminal(width)
    parts = (compact_table(results, width), metric_table(results), *match_table(tournament(HOSTILE)))
    show(*parts)
    out = capsys.readouterr().out
    assert_fits(out, width)
    shown = unstyled(out)
    assert not {"\x1b", "\u202e", "\x07", "\t"} & set(shown)
    assert "[bold]" in shown.replace("\n", "")
    whole = "".join(shown.split())
    assert whole.count("x" * 300) or width < 310  # in one piece where there is room
    assert shown.count("模") >= 4 * 30


@pytest.mark.slow
def test_piped_each_metric_of_each_model_is_a_line(capsys: Capture) -> None:
    lines = printed(capsys, metric_table(everything(HUB))).splitlines()
    assert len(lines) == 1 + len(HUB) * sum(len(told.metrics) for told in BUILT_IN.values())
    assert all(line.startswith(HUB) for line in lines[1:])


def test_intervals_are_shown_where_they_fit_else_it_is_said_where_they_are(capsys: Capture) -> None:
    results = [result("M1", "mt-bench@1", ["grade"]), result("M2", "mt-bench@1", ["grade"])]
    wide, narrow = (printed(capsys, compact_table(results, width)) for width in (80, 60))
    assert "−0.50 [−0.62, 0.75]" in wide  # noqa: RUF001 - the minus sign that is shown
    assert "\nAll other metrics: --full.\n" in wide
    assert "[" not in narrow
    assert "\nIntervals and all other metrics: --full.\n" in narrow


def test_how_many_are_scored_is_the_least_of_all_where_it_cannot_stand_beside_each(capsys: Capture) -> None:
    names = ("M1", "M22", "M333")
    results = [result(name, "mt-bench@1", ["grade"]) for name in names]
    each, least = (printed(capsys, compact_table(results, width)) for width in (100, 64))
    assert all(f"({12_345 - len(name):,}/12,345)" in each for name in names)
    assert "≥" not in each
    (line,) = (line for line in least.splitlines() if "Grade" in line)
    assert line.split()[-2:] == ["≥", "12,341/12,345"]
    assert "Intervals, what is scored of each checkpoint, and all other metrics: --full." in least


def test_checkpoints_that_do_not_fit_go_on_in_tables_of_the_same_size(capsys: Capture) -> None:
    names = [f"M{n}" for n in range(10)]
    results = [result(name, "mt-bench@1", ["grade"], comparability={"data": name}) for name in names]
    shown = printed(capsys, compact_table(results, 80))
    heads = [words for line in shown.splitlines() if (words := line.split())[:1] and words[0] in names]
    assert [len(words) - 1 for words in heads] == [5, 5]
    assert [name for words in heads for name in words[:-1]] == names
    assert shown.count("NOT COMPARABLE with each other: unlike data") == 2  # each is only a part of what is unlike


def test_judges_and_ratings_are_told_whole(capsys: Capture, terminal: Terminal) -> None:
    terminal(80)
    shown = printed(capsys, compact_table([result("M1", "mt-bench@1", ["grade"])], 80), *match_table(tournament(HUB)))
    assert " ".join(shown.split()).count(JUDGE) == 2
    assert f"Bradley-Terry ratings: {HUB[0]} 1,234" in " ".join(shown.split())


@pytest.mark.slow
def test_eval_at_80_columns(cli: Cli, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command itself: compact, with all metrics, and head to head with made-up answers."""
    from selfreward_bench.engines.scripted import ScriptedEngine

    made = RunDir.create(Path("runs/a"), recipes.load("micro", ["with_baseline=false"]))
    (made.path / "M1/checkpoint").mkdir(parents=True)
    (made.path / "M1/iteration.json").write_text("{}", encoding="utf-8")

    def evaluate(model: Any, settings: Any, *, out_dir: Path, reporter: Any) -> list[EvalResult]:
        found = [result(model.name, f"{name}@1", list(BUILT_IN[f"{name}@1"].metrics)) for name in settings]
        for one in found:
            (out_dir / one.benchmark).mkdir(parents=True, exist_ok=True)
            write_record(out_dir / one.benchmark / "result.json", one)
            (out_dir / one.benchmark / "scores.jsonl").touch()
        return found

    monkeypatch.setattr("leaderboards.session.evaluate_model", evaluate)
    monkeypatch.setattr("leaderboards.models.fingerprint_of", lambda path, finished=False: str(path))
    monkeypatch.setattr(
        "selfreward_bench.models.opening.open_engine", lambda *_, **__: ScriptedEngine({"*": "No idea"})
    )
    asked = ("eval", "--run", "runs/a", "--no-report", "--limit", "5", "--benchmarks")
    for given in (["quality,nlp,mt-bench"], ["quality,nlp,mt-bench", "--full"], ["head-to-head"]):
        monkeypatch.setenv("TTY_COMPATIBLE", "0")
        piped = cli(*asked, *given)
        terminal(80)
        done = cli(*asked, *given)
        assert (done.exit_code, piped.exit_code) == (0, 0), done.output
        assert_fits(done.stdout.replace("(", " "), 80, piped.stdout.replace("(", " "), *NARROW)
        assert "\x1b" not in piped.stdout


def test_what_is_to_be_known_of_numbers_is_told_as_text() -> None:
    (line,) = remarks([result("M1", "nlp@1", ["mmlu"], notes=("mmlu: 2 of its 57 subjects \x1b[2J",))])
    assert line.startswith("M1, NLP benchmarks: mmlu: 2 of its 57 subjects")
    assert "\x1b" not in line
