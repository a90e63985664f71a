"""Quality rows and head-to-head: what is scored, what is not, and that order never matters."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from leaderboards.base import measures, summarise
from leaderboards.head_to_head.micro import head_to_head
from leaderboards.micro import quality_rows
from selfreward_bench.micro import world
from selfreward_bench.types import Completion, FinishReason, Prompt, SampleScore

Prompts = Callable[..., list[Prompt]]


def answer(prompt: Prompt, index: int, text: str, finish: FinishReason = "stop") -> Completion:
    return Completion(prompt_id=prompt.id, index=index, text=text, n_tokens=3, finish_reason=finish, seed=0)


def perfect(prompt: Prompt) -> str:
    task = world.parse(prompt.text)
    assert task is not None
    return task.perfect(random.Random(0))


def rows_of(prompts: list[Prompt], texts: list[list[str]]) -> list[SampleScore]:
    completions = [answer(p, k, t) for p, ts in zip(prompts, texts, strict=True) for k, t in enumerate(ts)]
    return quality_rows(prompts, completions, "sampled", len(texts[0]))


def test_mean_exact_rate_and_length_are_those_of_the_answers(make_prompts: Prompts) -> None:
    prompts = make_prompts(4)
    texts = [[perfect(p), "No idea"] for p in prompts]
    metrics = summarise(rows_of(prompts, texts))
    assert metrics["exact_sampled"].value == 0.5
    assert metrics["quality_sampled"].value == 2.5
    assert metrics["grade_sampled/5"].value == metrics["grade_sampled/0"].value == 0.5
    assert metrics["chars_sampled"].value == sum(len(t) for ts in texts for t in ts) / 8
    assert metrics["truncated_sampled"].value == 0


def test_truncated_unknown_and_missing_answers_are_counted_and_never_zero(make_prompts: Prompts) -> None:
    prompts = [*make_prompts(2), Prompt(id="odd", messages=({"role": "user", "content": "Sing!"},))]  # type: ignore[arg-type]
    completions = [
        answer(prompts[0], 0, perfect(prompts[0])),
        answer(prompts[0], 1, "No idea", "length"),
        answer(prompts[1], 0, perfect(prompts[1])),
        answer(prompts[2], 0, "La"),
        answer(prompts[2], 1, "La"),
    ]
    rows = quality_rows(prompts, completions, "sampled", 2)
    metrics = summarise(rows)
    quality = metrics["quality_sampled"]
    assert (quality.value, quality.n_scored, quality.n_total) == (5.0, 2, 6)
    assert [r.reason for r in rows] == [None, "truncated", None, "no_answer", "unknown_task", "unknown_task"]
    assert metrics["truncated_sampled"].value == pytest.approx(1 / 5)
    assert metrics["uncut_quality_sampled"].value == pytest.approx(10 / 3)  # the cut one counts here, as it stands


def test_the_order_of_answers_does_not_matter(make_prompts: Prompts) -> None:
    prompts = make_prompts(8)
    completions = [answer(p, k, perfect(p) if (i + k) % 3 else "x") for i, p in enumerate(prompts) for k in range(2)]
    shuffled = random.Random(3).sample(completions, len(completions))
    assert summarise(quality_rows(prompts, completions, "sampled", 2)) == summarise(
        quality_rows(prompts, shuffled, "sampled", 2)
    )
    assert shuffled != completions


def test_intervals_are_clustered_by_prompt(make_prompts: Prompts) -> None:
    prompts = make_prompts(12)
    texts = [[perfect(p) if i % 2 else "x"] for i, p in enumerate(prompts)]
    once = summarise(rows_of(prompts, texts))["quality_sampled"]
    copied = summarise(rows_of(prompts, [t * 4 for t in texts]))["quality_sampled"]
    assert (once.low, once.high) == pytest.approx((copied.low, copied.high))  # copies carry no information


def test_families_are_separate(make_prompts: Prompts) -> None:
    prompts = make_prompts(24)
    metrics = summarise(rows_of(prompts, [[perfect(p)] for p in prompts]))
    families = {p.category for p in prompts}
    found = {n.partition("/")[2]: m.n_total for n, m in metrics.items() if n.startswith("quality_sampled/")}
    assert found == {f: sum(p.category == f for p in prompts) for f in families}


def test_head_to_head_compares_all_samples_and_is_symmetric(make_prompts: Prompts) -> None:
    prompts = make_prompts(6)
    a = rows_of(prompts, [[perfect(p), "x"] for p in prompts])
    b = rows_of(prompts, [["x", "x"] if i else [perfect(p), perfect(p)] for i, p in enumerate(prompts)])
    ahead, behind = head_to_head("A", a, "B", b), head_to_head("B", b, "A", a)
    assert (ahead.win, ahead.tie, ahead.loss) == (10 / 24, 12 / 24, 2 / 24)
    assert ahead.win_rate == pytest.approx(16 / 24)
    assert behind.win_rate == pytest.approx(1 - 16 / 24)
    assert (behind.win, behind.tie, behind.loss) == (ahead.loss, ahead.tie, ahead.win)
    assert ahead.low is not None
    assert behind.high == pytest.approx(1 - ahead.low)
    assert ahead.p_value == behind.p_value
    assert (ahead.n_prompts, ahead.n_scored, ahead.n_total) == (6, 24, 24)


def test_head_to_head_joins_by_prompt_and_leaves_unscored_out(make_prompts: Prompts) -> None:
    prompts = make_prompts(5)
    a = rows_of(prompts, [[perfect(p)] for p in prompts])
    b = rows_of(prompts, [["x"] for p in prompts])
    b[2] = b[2].model_copy(update={"value": None, "detail": {"measures": {**measures(b[2]), "quality_sampled": None}}})
    result = head_to_head("A", a, "B", b[::-1])
    assert (result.win_rate, result.n_scored, result.n_total) == (1.0, 4, 5)


def test_head_to_head_of_nothing_is_no_number() -> None:
    result = head_to_head("A", [], "B", [])
    assert (result.win_rate, result.win, result.n_total) == (None, None, 0)
