"""The drift matrix: judges against each other, against what is right, and in their own cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from leaderboards import standings
from leaderboards.base import Setting, Subject
from leaderboards.drift.matrix import HUMAN, Pool, answer_pool, drift_matrix, judge_pool, micro_pool, ranked_pool
from leaderboards.micro import test_prompts as prompts_of
from leaderboards.standings import AuthorScore, DriftMatrix
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import DataError
from selfreward_bench.micro import oracle
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Judgment, Message, Prompt, RankedPrompt, RankedResponse

PROMPTS = [Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(12)]
ANSWERS = {name: {p.id: f"{name} says {p.id}" for p in PROMPTS} for name in ("M1", "M2", "M3")}
MADE: Any = {"index": 0, "judge": "micro@1#0/expected/M", "raw": '{"probs": {"3": 1.0}, "mass": 1.0}'}
QUALITY = {"M1": 1, "M2": 2, "M3": 3}


def truth(prompt: str, answer: str) -> float:
    return QUALITY[answer.split()[0]]


def judged(pool: Pool, score: Callable[[str, int], float | None]) -> list[Judgment]:
    """``score(author, number of the prompt)``."""
    return [
        Judgment(prompt_id=i.prompt_id, score=score(i.response.split()[0], int(i.response.split()[-1][1:])), **MADE)
        for i in pool.items
    ]


def score_of(matrix: DriftMatrix, judge: str, author: str) -> AuthorScore:
    return next(s for s in matrix.scores if (s.judge, s.author) == (judge, author))


def noise(author: str, number: int) -> float:
    return (number * 7 % 5) / 10 + QUALITY.get(author, 0) / 100


def fair(author: str, number: int) -> float:
    return QUALITY[author] + noise(author, number)


def test_judges_that_agree_and_judges_that_turn_round() -> None:
    pool = answer_pool(PROMPTS, ANSWERS, truth=truth)
    matrix = drift_matrix(
        pool,
        {
            "M2": judged(pool, lambda a, n: 2 * fair(a, n)),
            "M1": judged(pool, fair),
            "M3": judged(pool, lambda a, n: -fair(a, n)),
        },
        fingerprints={"M1": "f1"},
    )
    assert [j.name for j in matrix.judges] == ["M1", "M2", "M3"]
    assert [(a.a, a.b) for a in matrix.agreement] == [("M1", "M2"), ("M1", "M3"), ("M2", "M3")]
    same, turned, _ = matrix.agreement
    assert [m.value for m in (same.spearman, same.kendall_tau_b, same.within_kendall)] == pytest.approx([1, 1, 1])
    assert [m.value for m in (turned.spearman, turned.within_kendall)] == pytest.approx([-1, -1])
    assert [j.accuracy.value for j in matrix.judges if j.accuracy] == [1, 1, 0]
    assert [j.truth_spearman.value > 0.8 for j in matrix.judges if j.truth_spearman and j.truth_spearman.value] == [
        True,
        True,
        False,
    ]
    assert (matrix.judges[0].fingerprint, matrix.judges[1].fingerprint) == ("f1", "")
    assert (matrix.authors, matrix.n_prompts, matrix.n_responses) == (("M1", "M2", "M3"), 12, 36)
    found = score_of(matrix, "M1", "M3").score
    assert found.value == pytest.approx(3.03 + sum(n * 7 % 5 for n in range(12)) / 120)
    assert (found.n_total, found.low is not None) == (12, True)


def test_a_judge_in_its_own_cause() -> None:
    pool = answer_pool(PROMPTS, ANSWERS)
    vain = judged(pool, lambda a, n: fair(a, n) + (1.5 if a == "M3" else 0))
    matrix = drift_matrix(pool, {"M1": judged(pool, fair), "M2": judged(pool, fair), "M3": vain})
    first, second, third = (j.own_advantage for j in matrix.judges)
    assert third is not None
    assert (third.value, third.n_scored) == (pytest.approx(1.5), 12)
    assert first is not None
    assert first.value == pytest.approx(0.75 / 2)  # against the others' mean, of which M3 holds M1's answers for worse
    assert second is not None
    assert matrix.judges[0].accuracy is None
    assert matrix.judges[0].truth_spearman is None


def test_equal_answers_are_judged_once() -> None:
    answers = {"M1": {"p0": "same"}, "M2": {"p0": "same", "p1": "other"}}
    pool = answer_pool(PROMPTS[:2], answers)
    assert (len(pool.items), len(pool.entries)) == (2, 3)
    made = [
        Judgment(prompt_id=i.prompt_id, index=0, judge="j/expected/M", score=4, raw='{"probs": {"4": 1}}')
        for i in pool.items
    ]
    matrix = drift_matrix(pool, {"M1": made})
    assert score_of(matrix, "M1", "M1").score.n_scored == 1
    assert score_of(matrix, "M1", "M2").score.n_scored == 2


def test_a_human_ranked_slice_is_right_by_its_ranks() -> None:
    responses = tuple(RankedResponse(text=f"{name} says p0", rank=3 - q) for name, q in QUALITY.items())
    ranked = [RankedPrompt(id="p0", messages=PROMPTS[0].messages, responses=responses)]
    pool = answer_pool(PROMPTS, ANSWERS) + ranked_pool(ranked)
    assert len(pool.items) == 12 * 3 + 3  # the same texts under the same prompt, but kept apart
    matrix = drift_matrix(pool, {"M1": judged(pool, fair), "M2": judged(pool, lambda a, n: -fair(a, n))})
    assert matrix.authors[-1] == HUMAN
    assert [j.accuracy.value for j in matrix.judges if j.accuracy] == [1, 0]
    assert [j.accuracy.n_total for j in matrix.judges if j.accuracy] == [3, 3]


def test_judgments_that_are_missing_or_unread_are_left_out() -> None:
    pool = answer_pool(PROMPTS, ANSWERS, truth=truth)
    partly = judged(pool, lambda a, n: None if n == 0 else fair(a, n))[:-1]
    matrix = drift_matrix(pool, {"M1": judged(pool, fair), "M2": partly})
    assert matrix.agreement[0].spearman.n_scored == 36 - 3 - 1
    accuracy = matrix.judges[1].accuracy
    assert accuracy is not None
    assert (accuracy.value, accuracy.n_scored, accuracy.n_total) == (1, 36 - 3 - 2, 36)
    assert score_of(matrix, "M2", "M1").score.n_scored == 11
    with pytest.raises(DataError, match="M2 judged none"):
        drift_matrix(pool, {"M1": partly, "M2": []})


def test_pools_have_a_name_of_their_content() -> None:
    first = answer_pool(PROMPTS, ANSWERS)
    assert first.content_hash == answer_pool(PROMPTS[::-1], dict(reversed(ANSWERS.items()))).content_hash
    assert first.content_hash != answer_pool(PROMPTS, ANSWERS, truth=truth).content_hash
    assert first.content_hash != answer_pool(PROMPTS, {**ANSWERS, "M3": {"p0": "new"}}).content_hash


@pytest.fixture
def judge(config: RunConfig, tmp_path: Path, skilled: Callable[..., ScriptedEngine]) -> Callable[..., list[Judgment]]:
    def run(pool: Pool, engine: ScriptedEngine | None = None, name: str = "M1") -> list[Judgment]:
        opened = engine or skilled(0.5)
        return judge_pool(Subject(name, lambda: opened, Setting(config), tmp_path / name, lambda n: None), pool.items)

    return run


def test_the_micro_pool_is_what_the_checkpoints_answered(
    world_files: Path, evaluated_run: Path, config: RunConfig, judge: Callable[..., Sequence[Judgment]], tmp_path: Path
) -> None:
    folders = {name: evaluated_run / name / "eval" / "micro-quality@1" for name in ("M1", "M2", "M3")}
    prompts = prompts_of(config)
    pool = micro_pool(folders, prompts, n_prompts=10)
    assert {e.prompt_id for e in pool.entries} == {p.id for p in prompts[:10]}
    assert all(e.truth == oracle.score(e.item.messages[0].content, e.item.response) for e in pool.entries)
    matrix = drift_matrix(pool, {"M1": judge(pool), "M2": judge(pool, name="M2")})
    assert [j.accuracy.value for j in matrix.judges if j.accuracy] == [1, 1]
    means = [score_of(matrix, "M1", author).score.value for author in ("M1", "M2", "M3")]
    assert means == sorted(means, key=float)  # type: ignore[arg-type]  # every author has a score here
    standings.write_record(tmp_path / "drift.json", matrix)
    assert standings.read_drift(tmp_path / "drift.json") == matrix


def test_answers_that_failed_are_left_out_of_the_pool(
    world_files: Path, evaluated_run: Path, config: RunConfig, tmp_path: Path
) -> None:
    answers = (evaluated_run / "M1" / "eval" / "micro-quality@1" / "answers.jsonl").read_bytes()
    (tmp_path / "M1").mkdir()
    (tmp_path / "M1" / "answers.jsonl").write_bytes(b"".join(answers.splitlines(keepends=True)[:20]))
    (tmp_path / "M2").mkdir()  # all of its answers failed
    whole = micro_pool({"M1": evaluated_run / "M1" / "eval" / "micro-quality@1"}, prompts_of(config))
    part = micro_pool({name: tmp_path / name for name in ("M1", "M2")}, prompts_of(config))
    assert 0 < len(part.entries) < len(whole.entries)
    assert set(part.entries) < set(whole.entries)
    with pytest.raises(DataError, match="M3 has no answers"):
        micro_pool({"M3": tmp_path / "M3"}, prompts_of(config))


def test_judging_the_pool_goes_on_where_it_stopped(
    world_files: Path,
    evaluated_run: Path,
    config: RunConfig,
    judge: Callable[..., Sequence[Judgment]],
    skilled: Callable[..., ScriptedEngine],
    tmp_path: Path,
) -> None:
    folder = {"M1": evaluated_run / "M1" / "eval" / "micro-quality@1"}
    pool = micro_pool(folder, prompts_of(config), n_prompts=10)
    whole = judge(pool)
    (path,) = (tmp_path / "M1").iterdir()
    stored = jsonl.read(path, Judgment, unique=lambda j: j.id)
    assert len(stored) == len(pool.items)
    foreign = stored[0].model_copy(update={"prompt_id": "gone#0"})
    jsonl.write(path, [foreign, *stored[:4]])
    engine = skilled(0.5, batch_size=1)
    assert sorted(j.id for j in judge(pool, engine)) == sorted(j.id for j in whole)
    assert len(engine.requests) == len(pool.items) - 4


def test_judgments_of_other_weights_or_settings_are_not_taken(
    world_files: Path, config: RunConfig, tmp_path: Path, skilled: Callable[..., ScriptedEngine]
) -> None:
    pool, engine = answer_pool(PROMPTS[:3], ANSWERS), skilled(0.5, judge=lambda p, a: 3)

    def asked(settings: RunConfig, fingerprint: str) -> int:
        before = len(engine.requests)
        judge_pool(Subject("M1", lambda: engine, Setting(settings), tmp_path, lambda n: None), pool.items, fingerprint)
        return len(engine.requests) - before

    other = config.model_copy(update={"seed": 5})
    assert [asked(config, "f1"), asked(config, "f2"), asked(other, "f2"), asked(config, "f1")] == [9, 9, 9, 0]
