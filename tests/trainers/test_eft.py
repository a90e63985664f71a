"""EFT: reviews whose order humans agree with become examples; everything else is dropped and counted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from selfreward_bench.config import SeedConfig
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import DataError
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.types import Judgment, Message, RankedPrompt, RankedResponse
from trainers.eft import EftResult, build_eft, graded_by_rank

JUDGE = load_judge_prompt("additive-5pt")
USER = (Message(role="user", content="Name a red food."),)
Spec = tuple[int, Any]


def prompt(name: str, *responses: Spec) -> RankedPrompt:
    """Responses are (rank, score of the review it brings, or the review's text, or None)."""
    made = tuple(
        RankedResponse(text=f"answer {i}", rank=rank, review=review(given) if given is not None else None)
        for i, (rank, given) in enumerate(responses)
    )
    return RankedPrompt(id=name, messages=USER, responses=made)


def review(given: Any) -> str:
    return given if isinstance(given, str) else f"Because.\nScore: {given}"


def judgments(name: str, *scores: Sequence[int | None]) -> list[Judgment]:
    """One sequence of sampled scores per response."""
    return [
        Judgment(
            prompt_id=name,
            index=index,
            sample=k,
            judge="j",
            score=score,
            raw=f"Sample {k}.\nScore: {score}" if score is not None else "Hm.",
            reason=None if score is not None else "no_verdict",
        )
        for index, samples in enumerate(scores)
        for k, score in enumerate(samples)
    ]


def build(
    *prompts: RankedPrompt, reviews: Sequence[Judgment] = (), flatten: float | None = None, seed: int = 0
) -> EftResult:
    return build_eft(prompts, reviews, JUDGE, SeedConfig(eft_flatten=flatten), seed)


SOUND = prompt("ok", (0, 5), (1, 1))


def kept(result: EftResult, name: str) -> dict[int, str]:
    found = {}
    for example in result.examples:
        owner, _, index = example.id.rpartition("/")
        if owner == name:
            found[int(index)] = example.completion[0].content
    return found


def test_an_example_asks_exactly_as_the_judge_asks() -> None:
    result = build(SOUND)
    engine = ScriptedEngine({"*": "Score: 3"})
    list(PointwiseJudge(engine, JUDGE, samples=1).judge([JudgeItem("ok", 0, USER, "answer 0")]))
    assert result.examples[0].prompt == engine.requests[0].prompt
    assert result.examples[0].completion == (Message(role="assistant", content="Because.\nScore: 5"),)
    assert [e.id for e in result.examples] == ["ok/0", "ok/1"]


@pytest.mark.parametrize(
    ("responses", "loss"),
    [
        (((0, 4), (1, 2), (2, 0)), None),
        (((0, 4), (1, 4), (2, 0)), None),  # equal scores are no contradiction
        (((2, 0), (0, 4), (1, 2)), None),
        (((0, 3), (0, 5), (1, 3)), None),  # humans see the first two as equal
        (((0, 2), (1, 4)), "order_disagrees"),
        (((0, 4), (1, 1), (2, 2)), "order_disagrees"),
        (((0, 3), (0, 5), (1, 4)), "order_disagrees"),
        (((0, 3), (1, 3)), "all_equal"),
        (((0, 5), (0, 1)), "no_order"),
    ],
)
def test_the_order_must_be_the_humans(responses: tuple[Spec, ...], loss: str | None) -> None:
    result = build(SOUND, prompt("p", *responses))
    assert len(kept(result, "p")) == (0 if loss else len(responses))
    losses = {name: result.counts[name] for name in ("order_disagrees", "all_equal", "no_order")}
    assert losses == {name: len(responses) if name == loss else 0 for name in losses}


@pytest.mark.parametrize("text", ["I cannot say.", "Score: 9", "Score: 4\nScore: 2", "", "score 4"])
def test_an_unreadable_review_costs_its_response_and_is_no_grade(text: str) -> None:
    result = build(SOUND, prompt("p", (0, 4), (1, text), (2, 3)), prompt("q", (0, text), (1, 3)))
    assert set(kept(result, "p")) == {0, 2}
    assert kept(result, "q") == {}
    assert result.counts["unparsed"] == 2
    assert result.counts["no_order"] == 1


def test_without_reviews_the_baselines_judgments_serve() -> None:
    bare = prompt("p", (0, None), (1, None), (2, None))
    result = build(SOUND, bare, reviews=judgments("p", [4], [None, 2], [1]))
    assert kept(result, "p") == {0: "Sample 0.\nScore: 4", 1: "Sample 1.\nScore: 2", 2: "Sample 0.\nScore: 1"}
    assert build(SOUND, bare).counts["no_review"] == 3


def test_a_review_of_the_data_goes_before_judgments() -> None:
    result = build(prompt("p", (0, 5), (1, 0)), reviews=judgments("p", [1], [4]))
    assert set(kept(result, "p").values()) == {"Because.\nScore: 5", "Because.\nScore: 0"}


def test_first_sample_that_leaves_an_agreeing_order() -> None:
    bare = prompt("p", (0, None), (1, None))
    agreeing = build(bare, reviews=judgments("p", [3, 5, 4], [1, 0]))
    assert kept(agreeing, "p") == {0: "Sample 0.\nScore: 3", 1: "Sample 0.\nScore: 1"}  # nothing is picked for its gap
    rescued = build(bare, reviews=judgments("p", [1, 5, 4], [4, 2]))
    assert kept(rescued, "p") == {0: "Sample 1.\nScore: 5", 1: "Sample 0.\nScore: 4"}


def test_an_agreeing_choice_is_found_whenever_there_is_one() -> None:
    rng = random.Random(0)
    found = 0
    for _ in range(400):
        ranks = [rng.randrange(3) for _ in range(rng.randrange(2, 5))]
        samples = [[rng.randrange(6) for _ in range(rng.randrange(1, 4))] for _ in ranks]
        pairs = [(a, b) for a, b in itertools.permutations(range(len(ranks)), 2) if ranks[a] < ranks[b]]
        agrees = any(all(choice[a] >= choice[b] for a, b in pairs) for choice in itertools.product(*samples))
        result = build(SOUND, prompt("p", *((r, None) for r in ranks)), reviews=judgments("p", *samples))
        disagrees = result.counts["order_disagrees"] > 0
        assert disagrees == (bool(pairs) and not agrees), (ranks, samples)
        scores = {i: int(text[-1]) for i, text in kept(result, "p").items()}
        assert all(scores[a] >= scores[b] for a, b in pairs if scores)
        found += bool(scores)
    assert found > 100


def test_a_judgment_whose_text_does_not_hold_its_score_is_unparsed() -> None:
    bare = prompt("p", (0, None), (1, None))
    expected = [
        Judgment(prompt_id="p", index=i, judge="x/expected/m", score=2.5, raw='{"probs": {"2": 0.5, "3": 0.5}}')
        for i in range(2)
    ]
    assert build(SOUND, bare, reviews=expected).counts["unparsed"] == 2


def test_the_commonest_score_is_thinned_by_a_seeded_draw() -> None:
    prompts = [prompt(f"p{i:02d}", (0, 4), (1, i % 4)) for i in range(40)]
    plain = build(*prompts)
    assert plain.counts["score_4"] == plain.counts["score_4_before"] == 40
    result = build(*prompts, flatten=2.0)
    assert result.counts["score_4_before"] == 40
    assert result.counts["score_4"] == 20  # twice the median of 10, 10, 10, 10
    assert [result.counts[f"score_{s}"] for s in range(4)] == [10] * 4
    assert result.counts["flattened"] == 20
    assert result.counts["examples"] == len(result.examples) == 60
    ids = [e.id for e in result.examples]
    assert ids == [e.id for e in plain.examples if e.id in set(ids)]
    assert ids == [e.id for e in build(*prompts, flatten=2.0).examples]
    assert ids != [e.id for e in build(*prompts, flatten=2.0, seed=1).examples]


def test_every_response_is_accounted_for() -> None:
    counts = build(
        SOUND,
        prompt("a", (0, 4), (1, "?"), (2, 3)),
        prompt("b", (0, None), (1, 3)),
        prompt("c", (0, 1), (1, 3)),
        prompt("d", (0, 3), (1, 3)),
        *(prompt(f"e{i}", (0, 4), (1, 0)) for i in range(9)),
        flatten=1.0,
    ).counts
    dropped = ("no_review", "unparsed", "no_order", "order_disagrees", "all_equal", "flattened")
    assert all(counts[name] for name in dropped)
    assert sum(counts[name] for name in dropped) + counts["examples"] == counts["responses"] == 29


def test_nothing_left_is_an_error_with_the_losses() -> None:
    with pytest.raises(DataError, match=r"unparsed 2.*additive-5pt.*eft_samples"):
        build(prompt("p", (0, "Good."), (1, "Bad.")))
    with pytest.raises(DataError, match="no ranked responses"):
        build()


@pytest.mark.parametrize(
    ("ranks", "grades"), [((0, 1), (5, 0)), ((2, 0, 1, 1), (0, 5, 2, 2)), ((0, 1, 2, 3), (5, 3, 2, 0))]
)
def test_grades_of_ranks_are_spread_over_the_scale_and_keep_the_order(
    ranks: tuple[int, ...], grades: tuple[int, ...]
) -> None:
    """The verdict alone is the review, so that mode ``expected`` asks for exactly what was trained."""
    result = build(*graded_by_rank([prompt("p", *((rank, None) for rank in ranks))], JUDGE))
    assert kept(result, "p") == {i: f"Score: {grade}" for i, grade in enumerate(grades)}


def test_a_rank_gives_no_grade_where_there_is_a_review_or_no_order() -> None:
    reviewed, level = prompt("p", (0, 4), (1, None)), prompt("q", (0, None), (0, None))
    (first, second) = graded_by_rank([reviewed, level], JUDGE)
    assert [r.review for r in first.responses] == ["Because.\nScore: 4", "Score: 0"]
    assert second == level


def test_more_ranks_than_grades_share_them() -> None:
    result = build(*graded_by_rank([prompt("p", *((rank, None) for rank in range(9)))], JUDGE))
    scores = [JUDGE.read(text, truncated=False).score for text in kept(result, "p").values()]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    assert result.counts["order_disagrees"] == 0
