"""Log-probabilities of choices against plain forward passes, one text at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from selfreward_bench.engines.base import ChoiceLogprobs, ChoiceRequest
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Message

GRADES = ("0", "1", "2", "3", "4", "5")
RUBRIC = "Rate the answer from 0 to 5. the cat who liked to play "


def request(i: int, answer: str, choices: tuple[str, ...], prefix: str = "Score: ") -> ChoiceRequest:
    messages = (Message(role="user", content=RUBRIC + answer),)
    return ChoiceRequest(id=f"j{i}", prompt=messages, choices=choices, assistant_prefix=prefix)


def scores(engine: Any, items: list[ChoiceRequest], **options: Any) -> dict[str, ChoiceLogprobs]:
    return {s.id: s for batch in engine.choice_logprobs(items, **options) for s in batch}


def brute_force(engine: Any, item: ChoiceRequest, choice: str) -> float:
    encoder, model = engine._encoder, engine._runner.model
    text, chat = encoder.render(item)
    start = encoder.tokenize([(text, chat)])[0]
    whole = encoder.tokenize([(text + choice, chat)])[0]
    assert whole[: len(start)] == start
    with torch.inference_mode():
        logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(logprobs[i - 1, whole[i]].item() for i in range(len(start), len(whole)))


ANSWERS = ["a small cat", "red", "name three things from the garden and say why", "the park 1 2 3", "red"]
SETS = [GRADES, ("0", "12", "3 the cat"), (" the park", "zebra?", " a"), ("5",)]


@pytest.mark.parametrize("choices", SETS)
@pytest.mark.parametrize("tokens_per_batch", [1, 65536])
def test_logprobs_are_exact(
    engine: Any, engine_of: Callable[..., Any], choices: tuple[str, ...], tokens_per_batch: int
) -> None:
    chosen = engine_of(engine._runner.model, tokens_per_batch=tokens_per_batch)
    items = [request(i, answer, choices) for i, answer in enumerate(ANSWERS)]
    found = scores(chosen, items)
    for item in items:
        expected = [brute_force(engine, item, c) for c in choices]
        assert found[item.id].logprobs == pytest.approx(expected, abs=2e-5)


def test_choice_sets_of_all_kinds_share_a_batch(engine: Any) -> None:
    items = [request(i, ANSWERS[i % 5], SETS[i % 4]) for i in range(12)]
    batches = list(engine.choice_logprobs(items))
    assert len(batches) == 1
    for item in items:
        found = next(s for s in batches[0] if s.id == item.id)
        assert found.logprobs == pytest.approx([brute_force(engine, item, c) for c in item.choices], abs=2e-5)


def test_probabilities_of_all_tokens_sum_to_one(engine: Any) -> None:
    vocabulary = [engine._encoder.tokenizer.decode([i]) for i in range(5, 330)]
    texts = tuple(t for t in vocabulary if "\ufffd" not in t and t)
    (found,) = scores(engine, [ChoiceRequest("all", "3 ", tuple(dict.fromkeys(texts)))]).values()
    assert sum(map(math.exp, found.logprobs)) < 1 + 1e-5


def test_grades_take_one_pass_and_the_rubric_is_read_once(engine: Any) -> None:
    read: list[tuple[int, ...]] = []
    handle = engine._runner.model.register_forward_pre_hook(
        lambda m, a, k: read.append(tuple(k["input_ids"].shape)), with_kwargs=True
    )
    try:
        found = scores(engine, [request(i, f"{answer} {i}", GRADES) for i, answer in enumerate(ANSWERS)])
    finally:
        handle.remove()
    assert len(read) == 2  # the common prefix, then what follows it
    (one, prefix), (rows, rest) = read
    assert (one, rows) == (1, 5)
    assert prefix + rest == max(s.n_prompt_tokens for s in found.values())
    assert prefix > rest // 2


def test_done_batches_are_skipped_and_the_plan_stays(engine: Any, engine_of: Callable[..., Any]) -> None:
    small = engine_of(engine._runner.model, tokens_per_batch=120)
    items = [request(i, ANSWERS[i % 5] + " cat" * i, GRADES) for i in range(8)]
    whole = list(small.choice_logprobs(items))
    assert len(whole) > 2
    assert list(small.choice_logprobs(items, done={s.id for s in whole[1]})) == [whole[0], *whole[2:]]


@pytest.mark.parametrize("choices", [(), ("a", "")])
def test_missing_choices_are_refused(engine: Any, choices: tuple[str, ...]) -> None:
    with pytest.raises(EngineError, match=r"'j0'.*choices"):
        engine.choice_logprobs([request(0, "a", choices)])


def test_a_request_beyond_the_context_fails_alone(engine: Any) -> None:
    long_choice, long_prompt = request(0, "a", ("1" * 250,)), request(1, "1" * 300, GRADES)
    fits = request(2, ANSWERS[0], GRADES)
    assert [s.id for batch in engine.choice_logprobs([long_choice, long_prompt, fits]) for s in batch] == ["j2"]
    assert engine.failures == {"j0": "too_long", "j1": "too_long"}
