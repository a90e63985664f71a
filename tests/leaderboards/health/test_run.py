"""Health of a run written by hand: every number known beforehand, every threshold from both sides."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from leaderboards import chain, standings
from leaderboards.health import collected
from leaderboards.health import iteration as iteration_health
from leaderboards.health import run as health
from leaderboards.health.measures import MEASURES
from leaderboards.health.records import HEALTH, Health, read_health
from leaderboards.health.run import measure, write_health
from leaderboards.health.thresholds import THRESHOLDS
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import DataError
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import (
    Completion,
    EvalResult,
    Example,
    FinishReason,
    Judgment,
    Message,
    Metric,
    PreferencePair,
    Prompt,
    Record,
    Reward,
    SampleScore,
)

QUALITY = "micro-quality@1"
PLAIN = "the cat sat on a warm mat while we ate"


def completion(prompt: str, index: int, text: str, finish: FinishReason = "stop") -> Completion:
    return Completion(prompt_id=prompt, index=index, text=text, n_tokens=1, finish_reason=finish, seed=0)


def filler(n: int) -> str:
    """A text of ``n`` characters that does not loop."""
    return " ".join(map(str, range(n)))[:n]


def judgment(prompt: str, index: int, sample: int, score: float | None, reason: str | None = None) -> Judgment:
    return Judgment(prompt_id=prompt, index=index, sample=sample, judge="j", score=score, raw="", reason=reason)


class Writer:
    """Writes the files that health is read from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        RunDir.create(path, RunConfig())

    def result(self, model: str, benchmark: str, **values: float | None) -> None:
        metrics = {name: Metric(value=v, n_scored=90, n_total=100) for name, v in values.items()}
        record = EvalResult(
            checkpoint=model,
            fingerprint=f"f-{model}",
            benchmark=benchmark,
            judge=None,
            metrics=metrics,
            config_hash="c",
            versions={},
            seconds=1.0,
        )
        standings.write_record(self.path / model / "eval" / benchmark / standings.RESULT, record)

    def answers(self, model: str, texts: Sequence[str], benchmark: str = QUALITY, *, cut: int = 0, at: int = 0) -> None:
        """One answer per prompt; the first ``cut`` are truncated, ids begin at ``at``."""
        records = [completion(f"t{i + at}", 0, t, "length" if i < cut else "stop") for i, t in enumerate(texts)]
        jsonl.write(self.path / model / "eval" / benchmark / "answers.jsonl", records)
        self.result(model, benchmark, quality_sampled=3.0)

    def records(self, model: str, file: str, records: Sequence[Record]) -> None:
        jsonl.write(self.path / model / file, records)

    def stage(self, model: str, name: str, counts: Mapping[str, float], **settings: object) -> None:
        marker = {"counts": counts, "identity": {"settings": settings}}
        (self.path / model).mkdir(exist_ok=True)
        (self.path / model / f"{name}.stage.json").write_text(json.dumps(marker))

    def iteration(
        self, scores: Mapping[str, Sequence[float | None]], lengths: Sequence[int], model: str = "M2"
    ) -> None:
        """Prompts with rewards of their candidates, whose lengths are the same for every prompt."""
        self.records(
            model, "prompts.jsonl", [Prompt(id=p, messages=(Message(role="user", content=p),)) for p in scores]
        )
        texts = {(p, i): "y" * n for p in scores for i, n in enumerate(lengths)}
        self.records(model, "completions.jsonl", [completion(p, i, t) for (p, i), t in texts.items()])
        flat = [(p, i, s) for p, found in scores.items() for i, s in enumerate(found)]
        self.records(
            model,
            "rewards.jsonl",
            [Reward(prompt_id=p, index=i, score=s, n_parsed=int(s is not None), n_judgments=1) for p, i, s in flat],
        )
        self.records(
            model, "judgments.jsonl", [judgment(p, i, 0, s, "no_verdict" if s is None else None) for p, i, s in flat]
        )


@pytest.fixture
def run(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "run")


def value(found: Health, name: str, model: str) -> float | None:
    (reading,) = found.of(name, model)
    return reading.value


def warned(found: Health) -> set[tuple[str, str]]:
    return {(w.measure, w.model) for w in found.warnings}


# --- what was trained on


@pytest.mark.parametrize(("asked", "share"), [(("t1", "t2", "t3", "t4"), 0.75), (("t4", "t5"), None)])
def test_a_benchmark_that_asks_what_was_trained_on(run: Writer, asked: tuple[str, ...], share: float | None) -> None:
    """IFT examples are called as their prompt is, EFT examples PROMPT/NUMBER; M0 was trained on neither."""
    turn = (Message(role="user", content="?"),)
    answer = (Message(role="assistant", content="!"),)
    for file, ids in (("ift.jsonl", ["t1"]), ("eft.jsonl", ["t2/0", "t2/1", "t3/0"])):
        run.records("M1", file, [Example(id=i, prompt=turn, completion=answer, source="s") for i in ids])
    for model in ("M0", "M1"):
        run.result(model, "judge-accuracy-oasst@1", pairwise_accuracy=0.5)
        scores = [SampleScore(sample_id=f"order/{i}", value=1.0, cluster=i) for i in asked]
        jsonl.write(run.path / model / "eval" / "judge-accuracy-oasst@1" / standings.SCORES, scores)
    found = measure(run.path)
    assert not found.of("trained_on", "M0")
    assert [r.value for r in found.of("trained_on", "M1")] == ([] if share is None else [share])
    assert (("trained_on", "M1") in warned(found)) == (share is not None)


# --- answers


def test_answers_of_each_checkpoint_are_measured(run: Writer) -> None:
    run.answers("M1", ["a cat", "a dog"])
    run.answers("M2", ["a red cat sat", "a red dog sat", "so so so so so so so so"], cut=1)
    found = measure(run.path)
    assert found.answers_from == QUALITY
    assert found.fingerprints == {"M1": "f-M1", "M2": "f-M2"}
    assert value(found, "chars", "M1") == 5.0
    assert value(found, "distinct_1", "M1") == pytest.approx(3 / 4)
    assert value(found, "truncation", "M2") == pytest.approx(1 / 3)
    assert value(found, "repetition", "M2") == pytest.approx(1 / 3)
    assert value(found, "repetition", "M1") == 0.0


def test_all_checkpoints_are_measured_on_the_benchmark_most_of_them_have(run: Writer) -> None:
    run.answers("M1", ["one"], "alpaca-eval@1")
    run.answers("M2", ["three"], "alpaca-eval@1")
    run.answers("M2", ["four more"])
    found = measure(run.path)
    assert found.answers_from == "alpaca-eval@1"
    assert [r.source for r in found.of("chars", "M2")] == ["alpaca-eval@1"]


def test_diversity_takes_one_answer_per_prompt_and_a_bounded_number(
    run: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "TEXTS", 3)
    texts = [f"word{i} other{i}" for i in range(9)]
    run.answers("M1", texts)
    path = run.path / "M1" / "eval" / QUALITY / "answers.jsonl"
    jsonl.append(path, [completion(f"t{i}", 1, "the same again") for i in range(9)])
    (reading,) = measure(run.path).of("distinct_1", "M1")
    assert (reading.value, reading.n, reading.n_total) == (1.0, 3, 9)


def test_the_draw_does_not_depend_on_the_order() -> None:
    ids = [f"p{i}" for i in range(100)]
    mixed = random.Random(1).sample(ids, 100)
    assert collected.drawn(ids, 10) == collected.drawn([*mixed, *ids], 10)


# --- judging in evaluations


def test_judge_measures_come_from_results(run: Writer) -> None:
    run.result("M1", "judge-accuracy-llmbar@1", top_share=0.2, consistency=0.6, parse_failures=None)
    run.result("M1", "mt-bench@1", order_agreement=0.9, parse_failures=0.5)
    found = measure(run.path)
    assert value(found, "top_share", "M1") == 0.2
    assert value(found, "consistency", "M1") == 0.6
    (lost,) = found.of("judge_failures", "M1")
    assert (lost.value, lost.reason, lost.n, lost.n_total) == (None, "nothing was scored", 90, 100)
    assert value(found, "evaluator_consistency", "M1") == 0.9
    assert warned(found) == {("consistency", "M1")}


def test_the_evaluators_consistency_is_pooled_over_opponents(run: Writer) -> None:
    def pair(a: str, b: str, consistency: float, n: int) -> standings.HeadToHead:
        unknown = dict.fromkeys(("win_rate", "low", "high", "p_value", "win", "tie", "loss"))
        seen = standings.Positions(consistency=consistency, first_preferred=0.5, n_both=n, n_decided=n)
        counts = dict.fromkeys(("n_scored", "n_total", "n_prompts"), n)
        return standings.HeadToHead.model_validate(
            {"benchmark": "h", "judge": "j", "a": a, "b": b, "positions": seen, **counts, **unknown}
        )

    tournament = standings.Tournament(
        benchmark="head-to-head@1",
        checkpoints={"M1": "f", "M2": "g", "M3": "h"},
        judge="j",
        rule="r",
        anchor="M1",
        n_prompts=3,
        pairs=(pair("M2", "M1", 0.5, 30), pair("M3", "M1", 0.9, 10)),
        ratings=(),
        comparability={},
    )
    standings.write_record(run.path / standings.MATCHES / standings.TOURNAMENT, tournament)
    found = measure(run.path)
    assert value(found, "evaluator_consistency", "M1") == pytest.approx(0.6)
    assert warned(found) == {("evaluator_consistency", "M1"), ("evaluator_consistency", "M2")}


# --- iterations


def test_an_iteration_is_measured(run: Writer) -> None:
    run.iteration({"p1": [1.0, 2.0, 5.0], "p2": [4.6, 4.4, None]}, lengths=[10, 20, 30])
    run.stage("M2", "prompts", {"prompts": 6, "continuations": 10, "duplicate": 2, "similar": 1, "surplus": 1})
    run.stage("M2", "candidates", {"completions": 6, "distinct": 3})
    run.stage("M2", "pairs", {"prompts": 10, "pairs": 2, "over_max": 1, "tied": 2, "too_few": 2}, rewards="self")
    found = measure(run.path)
    (told,) = found.iterations
    assert (told.model, told.parent, told.judge, told.n_judgments) == ("M2", "M1", "j", 6)
    assert told.grades == {"1": 1, "2": 1, "4": 1, "5": 2}
    assert told.failures == {"no_verdict": 1}
    assert value(found, "reward_top_share", "M2") == pytest.approx(2 / 5)
    assert value(found, "parse_failures", "M2") == pytest.approx(1 / 6)
    assert value(found, "prompt_novelty", "M2") == pytest.approx(0.7)
    assert value(found, "prompt_duplicates", "M2") == pytest.approx(0.3)
    assert value(found, "candidate_distinct", "M2") == pytest.approx(0.5)
    assert value(found, "tie_rate", "M2") == pytest.approx(2 / 8)
    assert value(found, "pairs_per_prompt", "M2") == pytest.approx(0.3)
    assert value(found, "reward_length", "M2") == pytest.approx((1 - 1) / 2)
    assert value(found, "reward_spread", "M2") == pytest.approx((1.699673171 + 0.1) / 2)
    assert value(found, "candidate_chars", "M2") == 20.0


def test_pairs_are_measured(run: Writer) -> None:
    run.iteration({"p1": [1.0, 2.0]}, lengths=[10, 20])
    pairs = [
        PreferencePair(
            prompt_id=f"p{i}",
            prompt=(Message(role="user", content="?"),),
            chosen=(Message(role="assistant", content="c" * 30),),
            rejected=(Message(role="assistant", content="r" * 20),),
            chosen_score=1.0 + i,
            rejected_score=0.5,
            chosen_index=0,
            rejected_index=1,
        )
        for i in range(3)
    ]
    run.records("M2", "pairs.jsonl", pairs)
    found = measure(run.path)
    margin = found.iterations[0].margin
    assert margin is not None
    assert (margin.n, margin.mean, margin.p50) == (3, 1.5, 1.5)
    assert value(found, "margin", "M2") == 1.5
    assert value(found, "chosen_growth", "M2") == 1.5


@pytest.mark.parametrize(
    ("scores", "expected"), [([1.0, 2.0, 3.0], 1.0), ([3.0, 2.0, 1.0], -1.0), ([2.0, 2.0, 2.0], None)]
)
def test_reward_with_length(run: Writer, scores: list[float], expected: float | None) -> None:
    run.iteration({"p1": scores, "p2": scores}, lengths=[5, 6, 9])
    found = measure(run.path)
    assert value(found, "reward_length", "M2") == (pytest.approx(expected) if expected else None)
    assert (("reward_length", "M2") in warned(found)) == (expected is not None)


def test_agreement_of_repeated_judgments(run: Writer) -> None:
    run.iteration({"p1": [1.0]}, lengths=[5])
    repeated = [judgment("p1", 0, k, s) for k, s in enumerate([3.0, 3.0, 4.0])]
    run.records("M2", "judgments.jsonl", repeated)
    assert value(measure(run.path), "judge_agreement", "M2") == pytest.approx(1 / 3)


def test_cut_and_empty_candidates_do_not_make_the_correlation(run: Writer) -> None:
    run.iteration({"p1": [1.0, 2.0, 3.0]}, lengths=[5, 6, 9])
    records = [completion("p1", 0, "yyyyy"), completion("p1", 1, "y" * 6), completion("p1", 2, "y", "length")]
    run.records("M2", "completions.jsonl", records)
    (reading,) = measure(run.path).of("candidate_chars", "M2")
    assert (reading.value, reading.n, reading.n_total) == (5.5, 2, 3)
    assert value(measure(run.path), "candidate_truncation", "M2") == pytest.approx(1 / 3)


def test_control_rewards_off_the_scale_are_no_grades(run: Writer) -> None:
    run.iteration({"p1": [50.0, 60.0]}, lengths=[50, 60])
    run.records("M2", "judgments.jsonl", [])
    run.stage("M2", "pairs", {"prompts": 1, "pairs": 1}, rewards="length")
    found = measure(run.path)
    assert found.iterations[0].grades == {}
    assert found.iterations[0].rewards == "length"
    (top,) = found.of("reward_top_share", "M2")
    assert (top.value, top.reason) == (None, "the scores are on no judge's scale")
    run.iteration({"p1": [5.0, 1.0]}, lengths=[50, 60])
    run.records("M2", "judgments.jsonl", [])
    assert measure(run.path).iterations[0].grades == {"1": 1, "5": 1}


def test_the_order_of_records_does_not_matter(run: Writer) -> None:
    rng = random.Random(3)
    run.iteration({f"p{i}": [rng.random() * 5 for _ in range(4)] for i in range(30)}, lengths=[3, 9, 4, 7])
    run.answers("M1", [f"answer number {i} is here" for i in range(20)])
    before = measure(run.path)
    for file in ("M2/completions.jsonl", "M2/rewards.jsonl", "M2/judgments.jsonl", f"M1/eval/{QUALITY}/answers.jsonl"):
        lines = (run.path / file).read_text().splitlines(keepends=True)
        (run.path / file).write_text("".join(rng.sample(lines, len(lines))))
    after = measure(run.path)
    for now, then in zip(after.readings, before.readings, strict=True):
        assert (now.measure, now.model, now.n) == (then.measure, then.model, then.n)
        assert now.value == (None if then.value is None else pytest.approx(then.value, rel=1e-12))


def test_only_a_bounded_number_of_prompts_is_held(run: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "NUMBER_PROMPTS", 5)
    monkeypatch.setattr(collected, "TEXT_PROMPTS", 2)
    run.iteration({f"p{i}": [1.0, 2.0] for i in range(20)}, lengths=[3, 9])
    found = measure(run.path)
    (spread,) = found.of("reward_spread", "M2")
    (loops,) = found.of("candidate_repetition", "M2")
    assert (spread.n, loops.n, loops.n_total) == (5, 4, 40)
    assert found.iterations[0].n_judgments == 40


# --- thresholds


def test_growth_is_held_against_m1_and_the_base_is_not_warned_of(run: Writer) -> None:
    run.answers("M0", [filler(900), "ha " * 30], cut=2)
    run.answers("SFT", [filler(900), filler(900)])
    run.answers("M1", [filler(100), filler(100)])
    run.answers("M2", [filler(150), filler(150)])
    run.answers("M3", [filler(151), filler(150)])
    found = measure(run.path)
    (only,) = found.warnings
    assert (only.measure, only.model) == ("chars", "M3")
    assert only.value == pytest.approx(1.505)
    assert only.text == (
        "M3: Answer length 150.5 characters after 100.0 characters of M1, 1.505 times as much (limit 1.5 times)."
    )


@pytest.mark.parametrize("names", [("full", "ckpt-96", "ckpt-192"), ("ckpt-96", "ckpt-192", "full")])
def test_growth_is_watched_whatever_the_checkpoints_are_called(tmp_path: Path, names: tuple[str, ...]) -> None:
    outside = Writer(tmp_path / "evaluations")
    (outside.path / "srbench.yaml").unlink()
    chain.keep_order(outside.path, names)
    for name, length in zip(names, (100, 140, 160), strict=True):
        outside.answers(name, [filler(length), filler(length)])
    (only,) = measure(outside.path).warnings
    assert (only.measure, only.model) == ("chars", names[2])
    assert f"after 100.0 characters of {names[0]}, 1.6 times as much" in only.text


def test_growth_of_finished_files_is_watched_by_the_judged_answers(run: Writer) -> None:
    for model, chars in (("M1", 1805.0), ("M2", 4210.0), ("M3", 9643.0)):
        run.result(model, "alpaca-eval@1", win_rate=9.6, length_controlled_winrate=8.6, avg_length=chars)
        run.result(model, "mt-bench@1", grade=6.0, chars=1000.0)
    found = measure(run.path)
    assert [(w.measure, w.model) for w in found.warnings if w.measure == "judged_chars"] == [
        ("judged_chars", "M2"),
        ("judged_chars", "M3"),
    ]
    assert "9,643.0 characters after 1,805.0 characters of M1, 5.342 times" in found.warnings[1].text


def test_results_on_other_data_are_not_held_against_the_first(run: Writer) -> None:
    run.result("M1", "alpaca-eval@1", avg_length=100.0)
    run.result("M2", "alpaca-eval@1", avg_length=900.0)
    path = run.path / "M2" / "eval" / "alpaca-eval@1" / standings.RESULT
    other = json.loads(path.read_text())
    path.write_text(json.dumps({**other, "comparability": {"data": "other"}}))
    assert measure(run.path).warnings == ()


def test_self_bleu_that_rises_is_warned_of(run: Writer) -> None:
    run.answers("M1", ["red cat sat on a mat", "two dogs ran to some park", "ships sail over deep seas now"])
    run.answers("M2", [PLAIN, PLAIN, PLAIN])
    assert ("self_bleu", "M2") in warned(measure(run.path))


def test_answers_that_hold_a_verdict_are_counted_for_each_benchmark(run: Writer) -> None:
    """33 of 80 second answers are critiques, as were seen of a judge that had learnt to write nothing else."""
    critique = "Missing: nothing. Wrong: nothing.\nScore: 4"
    for model, n in (("SFT", 0), ("M1", 33)):
        folder = run.path / model / "eval" / "mt-bench@1"
        for turn, held in ((1, 0), (2, n)):
            texts = [critique if i < held else "A cat sat there." for i in range(80)]
            jsonl.write(folder / f"turn-{turn}.jsonl", [completion(f"t{i}", 0, t) for i, t in enumerate(texts)])
        run.result(model, "mt-bench@1", grade=5.0)
    found = measure(run.path)
    assert value(found, "verdict_answers", "SFT") == 0.0
    assert value(found, "verdict_answers", "M1") == 33 / 160
    assert ("verdict_answers", "M1") in warned(found)
    assert next(w.text for w in found.warnings if w.measure == "verdict_answers").startswith(
        "M1: Answers that hold a verdict (MT-Bench) "
    )
    assert ("verdict_answers", "SFT") not in warned(found)


def _pair(number: int, prompt: str, chosen: str, rejected: str, margin: float) -> PreferencePair:
    return PreferencePair(
        prompt_id=f"p{number}",
        prompt=(Message(role="user", content=prompt),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        chosen_score=1.0 + margin,
        rejected_score=1.0,
        chosen_index=0,
        rejected_index=1,
    )


def test_whether_the_pairs_were_right_is_told_where_somebody_knows(
    run: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = {"right": 5.0, "poor": 1.0}
    monkeypatch.setattr(health.oracle, "score", lambda prompt, text: truth.get(text) if prompt != "?" else None)
    run.iteration({"p1": [1.0, 2.0]}, lengths=[10, 20])
    kinds = [("right", "poor")] * 3 + [("poor", "right")] * 2 + [("poor", "poor")]
    pairs = [_pair(i, "a task", c, r, float(i)) for i, (c, r) in enumerate(kinds)]
    run.records("M2", "pairs.jsonl", [*pairs, _pair(9, "?", "right", "poor", 9.0)])
    yaml = run.path / "srbench.yaml"
    of_the_world = yaml.read_text()
    yaml.write_text(of_the_world.replace("base: micro", "base: ./elsewhere"))
    assert measure(run.path).of("pairs_right", "M2") == ()  # nobody knows
    yaml.write_text(of_the_world)
    monkeypatch.setattr(iteration_health, "WIDEST", 2)
    found = measure(run.path)
    (right,) = found.of("pairs_right", "M2")
    assert (right.value, right.n, right.n_total) == (3 / 6, 6, 7)
    assert value(found, "pairs_wrong", "M2") == pytest.approx(2 / 6)
    assert value(found, "pairs_right_widest", "M2") == 0.0  # the two largest margins: truly equal, and worse
    assert value(found, "pairs_wrong_widest", "M2") == 0.5
    assert ("pairs_right_widest", "M2") in warned(found)


def test_answers_to_other_prompts_are_not_held_against_m1(run: Writer) -> None:
    run.answers("M1", [filler(10), filler(10)])
    run.answers("M2", [filler(100), filler(100)], at=7)
    found = measure(run.path)
    assert found.warnings == ()
    assert any("M2 answered other prompts than M1" in note for note in found.notes)


@pytest.mark.parametrize(
    ("raw", "controlled", "chars", "crossed"),
    [(55.0, 50.0, 200.0, True), (55.0, 50.0, 90.0, False), (50.5, 50.0, 200.0, False), (50.0, 55.0, 200.0, False)],
)
def test_win_rates_owed_to_length(run: Writer, raw: float, controlled: float, chars: float, crossed: bool) -> None:
    run.result("M1", "alpaca-eval@1", win_rate=50.0, length_controlled_winrate=50.0, avg_length=100.0)
    run.result("M2", "alpaca-eval@1", win_rate=raw, length_controlled_winrate=controlled, avg_length=chars)
    found = measure(run.path)
    assert value(found, "raw_minus_lc", "M2") == pytest.approx(raw - controlled)
    assert (("raw_minus_lc", "M2") in warned(found)) == crossed


_Write = Callable[[Writer, float], None]


def _share(measure_name: str) -> _Write:
    return lambda run, x: run.result("M2", "micro-judge-accuracy@1", **{measure_name: x})


@pytest.mark.parametrize(
    ("measure_name", "write", "fine", "crossing"),
    [
        ("top_share", _share("top_share"), 0.6, 0.61),
        ("own_top_share", _share("own_top_share"), 0.6, 0.61),
        ("judge_failures", _share("parse_failures"), 0.05, 0.051),
        ("length_correlation", _share("length_spearman"), -0.5, -0.51),
        ("consistency", _share("consistency"), 0.7, 0.69),
        ("truncation", lambda run, x: run.answers("M2", [PLAIN] * 100, cut=round(100 * x)), 0.05, 0.06),
        (
            "repetition",
            lambda run, x: run.answers("M2", ["on and on " * 9] * round(100 * x) + ["ok"] * round(100 - 100 * x)),
            0.05,
            0.06,
        ),
    ],
)
def test_thresholds_from_both_sides(
    run: Writer, measure_name: str, write: _Write, fine: float, crossing: float
) -> None:
    write(run, fine)
    assert (measure_name, "M2") not in warned(measure(run.path))
    write(run, crossing)
    assert (measure_name, "M2") in warned(measure(run.path))


def test_few_pairs_are_warned_of(run: Writer) -> None:
    run.iteration({"p1": [1.0, 2.0]}, lengths=[5, 5])
    run.stage("M2", "pairs", {"prompts": 100, "pairs": 30})
    assert warned(measure(run.path)) == set()
    run.stage("M2", "pairs", {"prompts": 100, "pairs": 29})
    assert warned(measure(run.path)) == {("pairs_per_prompt", "M2")}


def test_each_threshold_names_measures_that_exist_and_says_why() -> None:
    for threshold in THRESHOLDS:
        assert set(threshold.measures) <= set(MEASURES)
        assert threshold.why.endswith(".")


# --- damage


def test_what_is_damaged_is_noted_and_the_rest_measured(run: Writer) -> None:
    run.iteration({"p1": [1.0, 2.0], "p2": [2.0, 3.0]}, lengths=[5, 6])
    with (run.path / "M2" / "judgments.jsonl").open("a") as stream:
        stream.write('{"prompt_id": "p1", "ind')
    (run.path / "M2" / "pairs.stage.json").write_text("[" * 5_000)
    (run.path / "M2" / "prompts.stage.json").write_text(
        f'{{"counts": {{"continuations": NaN, "prompts": "many", "surplus": 1{"0" * 400}}}}}'
    )
    run.answers("M1", ["fine"])
    (run.path / "M1" / "eval" / QUALITY / "result.json").write_text("{")
    found = measure(run.path)
    assert found.iterations[0].n_judgments == 4
    assert value(found, "tie_rate", "M2") is None
    assert value(found, "prompt_novelty", "M2") is None
    assert value(found, "chars", "M1") == 4.0
    assert len(found.notes) == 2
    assert any("judgments.jsonl:5 is damaged" in note for note in found.notes)


def test_numbers_that_are_none_reach_no_reading(run: Writer) -> None:
    run.iteration({"p1": [1.0, 2.0, 3.0]}, lengths=[5, 6, 9])
    for file in ("rewards.jsonl", "judgments.jsonl"):
        path = run.path / "M2" / file
        path.write_text(path.read_text().replace('"score":3.0', '"score":NaN'))
    found = write_health(run.path)
    assert value(found, "reward_spread", "M2") == pytest.approx(0.5)
    assert found.iterations[0].failures == {"unknown": 1}


def test_without_its_judge_prompt_no_score_is_called_a_grade(run: Writer) -> None:
    run.iteration({"p1": [1.0, 5.0]}, lengths=[5, 6])
    yaml = run.path / "srbench.yaml"
    yaml.write_text(yaml.read_text().replace("prompt: additive-5pt", "prompt: gone.yaml"))
    found = measure(run.path)
    assert found.iterations[0].grades == {}
    assert any("scale is not known" in note for note in found.notes)


def test_a_run_without_anything_gives_empty_records(run: Writer) -> None:
    assert write_health(run.path) == Health()
    assert measure(run.path / "nowhere") == Health()


def test_what_is_written_is_read(run: Writer) -> None:
    assert read_health(run.path) is None
    run.answers("M1", ["a cat"])
    written = write_health(run.path)
    assert written.readings
    assert read_health(run.path) == written


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"readings": [{"measure": 1}]}',
        '{"iterations": [{"model": "M2", "parent": "M1", "grades": {"1": 1' + "0" * 400 + "}}]}",
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_refused(run: Writer, content: str) -> None:
    (run.path / HEALTH).write_text(content)
    with pytest.raises(DataError, match=r"health\.json"):
        read_health(run.path)


def test_the_records_load_neither_numpy_nor_torch() -> None:
    code = "import sys, leaderboards.health.records; print({'numpy', 'torch', 'scipy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_answers_that_quote_the_evaluating_judges_prompt_are_warned_of(run: Writer) -> None:
    for model, quoted in (("M1", 0.0), ("M2", 0.5)):
        run.result(model, "alpaca-eval@1", win_rate=50.0, quotes_judge_prompt=quoted)
    assert [w.model for w in measure(run.path).warnings if w.measure == "quotes_judge"] == ["M2"]
