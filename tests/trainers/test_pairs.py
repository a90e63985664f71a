"""Pairs: which candidates meet, and which must never be in one."""

from __future__ import annotations

from typing import Any

import pytest

from selfreward_bench.config import PairsConfig
from selfreward_bench.errors import DataError, UnknownNameError
from selfreward_bench.types import Completion, Message, Prompt, Reward
from trainers.pairs import STRATEGIES, PairResult, make_pairs, numbered

PROMPT = Prompt(id="p", messages=(Message(role="user", content="Name a red food."),))


def answer(index: int, text: str, finish: Any = "stop", prompt: str = "p") -> Completion:
    return Completion(prompt_id=prompt, index=index, text=text, n_tokens=1, finish_reason=finish, seed=0)


def reward(index: int, score: float | None, prompt: str = "p") -> Reward:
    return Reward(prompt_id=prompt, index=index, score=score, n_parsed=int(score is not None), n_judgments=1)


def pairs_of(*answers: tuple[str, float | None] | tuple[str, float | None, str], **config: Any) -> PairResult:
    completions = [answer(i, *a[:1], *a[2:]) for i, a in enumerate(answers)]
    return make_pairs([PROMPT], completions, [reward(i, a[1]) for i, a in enumerate(answers)], PairsConfig(**config))


def test_best_against_worst_in_trl_layout() -> None:
    (pair,) = pairs_of(("an egg", 2.0), ("an apple", 4.5), ("a bus", 0.5)).pairs
    assert pair.model_dump() == {
        "prompt_id": "p",
        "prompt": ({"role": "user", "content": "Name a red food."},),
        "chosen": ({"role": "assistant", "content": "an apple"},),
        "rejected": ({"role": "assistant", "content": "a bus"},),
        "chosen_score": 4.5,
        "rejected_score": 0.5,
        "chosen_index": 1,
        "rejected_index": 2,
    }


def test_equals_are_broken_by_the_lowest_index_whatever_the_order_of_records() -> None:
    texts = [("a", 1.0), ("b", 5.0), ("c", 5.0), ("d", 1.0)]
    completions = [answer(i, t) for i, (t, _) in enumerate(texts)]
    rewards = [reward(i, s) for i, (_, s) in enumerate(texts)]
    first = make_pairs([PROMPT], completions, rewards, PairsConfig())
    second = make_pairs([PROMPT], completions[::-1], rewards[::-1], PairsConfig())
    assert first == second
    assert (first.pairs[0].chosen_index, first.pairs[0].rejected_index) == (1, 0)


def test_tied_candidates_give_no_pair() -> None:
    result = pairs_of(("a", 3.0), ("b", 3.0), ("c", 3.0 + 1e-12))
    assert result.pairs == []
    assert result.counts["tied"] == 1
    assert "mean_gap" not in result.counts


def test_an_unparsed_judgment_is_never_the_lowest_grade() -> None:
    result = pairs_of(("good", 4.0), ("unjudged", None), ("fair", 3.0))
    assert result.pairs[0].rejected[0].content == "fair"
    assert result.counts["unparsed"] == 1
    alone = pairs_of(("good", 4.0), ("unjudged", None))
    assert alone.pairs == []
    assert alone.counts["too_few"] == 1


@pytest.mark.parametrize("score", [0.0, 5.0])
def test_truncated_and_empty_answers_are_on_neither_side(score: float) -> None:
    result = pairs_of(("cut of", score, "length"), ("", score), (" \n", score), ("a", 3.0), ("b", 2.0))
    assert [(p.chosen[0].content, p.rejected[0].content) for p in result.pairs] == [("a", "b")]
    assert result.counts["truncated"] == 1
    assert result.counts["empty"] == 2


def test_an_answer_is_not_paired_with_itself() -> None:
    result = pairs_of(("same", 4.0), ("same", 1.0), (" same ", 0.0))
    assert result.pairs == []
    assert result.counts["duplicate"] == 2
    assert result.counts["too_few"] == 1


def test_minimal_gap_with_tolerance_for_means() -> None:
    assert pairs_of(("a", 3.0), ("b", 2.5), min_gap=1.0).counts["below_gap"] == 1
    assert len(pairs_of(("a", 13 / 3), ("b", 10 / 3), min_gap=1.0).pairs) == 1
    assert 13 / 3 - 10 / 3 != 1.0  # what the tolerance is for


def many(n: int) -> tuple[list[Prompt], list[Completion], list[Reward]]:
    prompts = [PROMPT.model_copy(update={"id": f"p{i}"}) for i in range(n)]
    completions = [answer(k, f"{k}" * (k + 1), prompt=p.id) for p in prompts for k in range(2)]
    return prompts, completions, [reward(c.index, float(c.index), c.prompt_id) for c in completions]


def test_too_many_pairs_are_drawn_by_seed_in_order() -> None:
    prompts, completions, rewards = many(40)
    config = PairsConfig(max_pairs=10)
    result = make_pairs(prompts, completions, rewards, config, run_seed=1)
    ids = [p.id for p in result.pairs]
    assert len(ids) == 10
    assert ids == [p.id for p in prompts if p.id in set(ids)]
    assert ids == [p.id for p in make_pairs(prompts, completions, rewards, config, run_seed=1).pairs]
    assert ids != [p.id for p in make_pairs(prompts, completions, rewards, config, run_seed=2).pairs]
    assert ids != [p.id for p in prompts[:10]]
    assert result.counts["over_max"] == 30


def test_every_prompt_is_accounted_for_and_means_are_of_the_pairs() -> None:
    prompts, completions, rewards = many(4)
    rewards[1] = reward(1, 0.0, "p0")  # tied
    rewards[3] = reward(1, None, "p1")  # too few
    rewards[5] = reward(1, 0.5, "p2")  # below the gap
    counts = make_pairs(prompts, completions, rewards, PairsConfig(min_gap=0.6)).counts
    assert counts["pairs"] + counts["tied"] + counts["too_few"] + counts["below_gap"] + counts["over_max"] == 4
    assert counts["pair_share"] == 0.25
    assert (counts["mean_gap"], counts["chosen_chars"], counts["rejected_chars"]) == (1.0, 2.0, 1.0)


def test_no_prompts_give_no_pairs_and_finite_counts() -> None:
    result = make_pairs([], [], [], PairsConfig())
    assert result.pairs == []
    assert result.counts["pair_share"] == 0.0


def test_rewards_are_joined_by_id() -> None:
    with pytest.raises(DataError, match="'p/1' has no reward"):
        make_pairs([PROMPT], [answer(0, "a"), answer(1, "b")], [reward(0, 1.0), reward(2, 2.0)], PairsConfig())
    with pytest.raises(DataError, match="two rewards"):
        make_pairs([PROMPT], [answer(0, "a")], [reward(0, 1.0), reward(0, 2.0)], PairsConfig())


def test_a_strategy_is_one_function_and_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'best-worst'"):
        pairs_of(("a", 1.0), strategy="best-wurst")
    monkeypatch.setitem(STRATEGIES, "first-last", lambda chosen, rejected, draw: [(chosen[0], rejected[-1])])
    result = pairs_of(("a", 1.0), ("b", 2.0), ("c", 0.0), strategy="first-last")
    assert result.pairs[0].chosen[0].content == "a"
    assert pairs_of(("a", 1.0), ("b", 2.0), strategy="first-last").counts["tied"] == 1  # never against the reward


# --- other strategies

FOUR = (("a long answer", 4.0), ("short", 3.8), ("tiny", 1.0), ("the longest answer of all", 1.3))


def indices(result: PairResult) -> list[tuple[int, int]]:
    return [(p.chosen_index, p.rejected_index) for p in result.pairs]


def test_the_default_strategy_records_what_it_always_did() -> None:
    assert PairsConfig().recorded() == {"strategy": "best-worst", "min_gap": 0.0, "max_pairs": None}
    assert PairsConfig(rho=0.2).recorded()["rho"] == 0.2


def test_best_random_keeps_the_best_and_draws_the_other_by_seed() -> None:
    prompts = [PROMPT.model_copy(update={"id": f"p{i}"}) for i in range(60)]
    completions = [answer(k, f"answer {k}", prompt=p.id) for p in prompts for k in range(4)]
    rewards = [reward(c.index, float(-c.index), c.prompt_id) for c in completions]
    config = PairsConfig(strategy="best-random")
    found = indices(make_pairs(prompts, completions, rewards, config, run_seed=1))
    assert {best for best, _ in found} == {0}
    assert {other for _, other in found} == {1, 2, 3}  # not the worst alone
    assert found == indices(make_pairs(prompts[::-1], completions, rewards, config, run_seed=1))[::-1]
    assert found != indices(make_pairs(prompts, completions, rewards, config, run_seed=2))


def test_best_random_counts_a_drawn_equal_as_tied() -> None:
    result = pairs_of(("a", 3.0), ("b", 3.0), strategy="best-random")
    assert (result.pairs, result.counts["tied"]) == ([], 1)


def test_all_pairs_above_the_gap_the_widest_first() -> None:
    result = pairs_of(*FOUR, strategy="all-above-gap", min_gap=2.5)
    assert indices(result) == [(0, 2), (1, 2), (0, 3), (1, 3)]
    assert (result.counts["pairs"], result.counts["pair_share"]) == (4, 4.0)
    assert indices(pairs_of(*FOUR, strategy="all-above-gap")) == [(0, 2), (1, 2), (0, 3), (1, 3), (3, 2), (0, 1)]


def test_without_any_such_pair_the_prompt_is_counted_as_lost() -> None:
    assert pairs_of(("a", 3.0), ("b", 2.5), strategy="all-above-gap", min_gap=1.0).counts["below_gap"] == 1
    assert pairs_of(("a", 3.0), ("b", 3.0), strategy="all-above-gap").counts["tied"] == 1


def test_several_pairs_of_a_prompt_are_drawn_one_by_one() -> None:
    config = {"strategy": "all-above-gap", "max_pairs": 4}
    found = indices(pairs_of(*FOUR, **config))
    assert len(found) == 4
    assert [pair for pair in indices(pairs_of(*FOUR, strategy="all-above-gap")) if pair in found] == found
    assert pairs_of(*FOUR, **config).counts["over_max"] == 2


@pytest.mark.parametrize(("rho", "pair"), [(0.0, (0, 2)), (0.05, (0, 2)), (0.1, (1, 3)), (1.0, (2, 3))])
def test_length_decides_among_scores_that_are_near(rho: float, pair: tuple[int, int]) -> None:
    """A range of 3: 0.1 of it is 0.3, so 4.0 and 3.8 are alike, and 1.0 and 1.3."""
    result = pairs_of(*FOUR, strategy="length-aware", rho=rho)
    if rho == 1.0:  # everything is alike: the shortest and the longest, which is no preference of the judge's
        assert (result.pairs, result.counts["tied"]) == ([], 1)
    else:
        assert indices(result) == [pair]


def test_the_length_aware_pair_of_equals_is_tied() -> None:
    assert pairs_of(("a", 3.0), ("bb", 3.0), strategy="length-aware", rho=0.1).counts["tied"] == 1


def test_a_pair_of_a_prompt_has_a_name_of_its_own() -> None:
    assert numbered(["a", "b", "a"]) == ["a", "b", "a#1"]


# --- whose answers


def sided(scores: dict[int, float | None], texts: dict[int, str] | None = None, **config: Any) -> PairResult:
    """By number: from 0 the parent's own, from 2,000 the first model's, from 3,000 those of a model one step ahead."""
    completions = [answer(i, (texts or {}).get(i, f"answer {i}")) for i in scores]
    return make_pairs([PROMPT], completions, [reward(i, s) for i, s in scores.items()], PairsConfig(**config))


TEMPORAL = {"chosen_from": "own-or-next", "rejected_from": "own-or-first"}


@pytest.mark.parametrize(
    ("scores", "pair"),
    [
        ({0: 4.0, 1: 2.0, 2000: 1.0, 2001: 3.0, 3000: 4.5, 3001: 0.5}, (3000, 2000)),  # both are of use
        ({0: 4.0, 1: 2.0, 2000: 3.0, 3000: 3.5}, (0, 1)),  # none is: the parent's best against its worst
        ({0: 4.0, 1: 2.0, 2000: 2.0, 3000: 4.0}, (0, 1)),  # equals do not take the parent's place
        (
            {0: 4.0, 1: None, 2000: 5.0, 3000: None},
            None,
        ),  # no first answer is chosen, so the parent's is tied with itself
        ({0: None, 2000: 1.0, 3000: 3.0}, (3000, 2000)),
        ({0: 3.0}, None),
    ],
)
def test_temporal_takes_others_answers_where_they_are_better_or_worse(
    scores: dict[int, float | None], pair: tuple[int, int] | None
) -> None:
    result = sided(scores, **TEMPORAL)
    assert indices(result) == ([pair] if pair else [])
    assert result.counts["unparsed"] == sum(score is None for score in scores.values())  # each counts once
    assert result.counts["tied"] + result.counts["too_few"] == (pair is None)


def test_an_answer_that_two_models_gave_is_the_parents() -> None:
    result = sided({0: 1.0, 1: 2.0, 2000: 0.0, 3000: 9.0}, {2000: "answer 0", 3000: "answer 1"}, **TEMPORAL)
    assert indices(result) == [(1, 0)]
    assert result.counts["duplicate"] == 2


def test_sides_may_be_other_models_alone() -> None:
    scores: dict[int, float | None] = {0: 4.0, 1: 0.0, 2000: 3.0, 3000: 3.5}
    assert indices(sided(scores, chosen_from="next", rejected_from="first")) == [(3000, 2000)]
    assert indices(sided(scores, rejected_from="first")) == [(0, 2000)]


def test_best_random_has_nobody_to_draw_where_the_best_is_the_only_one_that_may_be_rejected() -> None:
    scores: dict[int, float | None] = {0: 4.0, 3000: 3.5}
    result = sided(scores, strategy="best-random", chosen_from="own-or-next")
    assert (result.pairs, result.counts["tied"]) == ([], 1)
