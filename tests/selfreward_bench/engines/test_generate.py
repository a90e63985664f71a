"""The decode loop against ``model.generate``, and a sample's independence from its surroundings."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from selfreward_bench.engines import cache, decode
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.decode import generate_batch
from selfreward_bench.engines.sampling import draw, uniform
from selfreward_bench.errors import EngineError
from selfreward_bench.types import Completion, Message

WORDS = ["once", "upon", "a", "time", "there", "cat", "who", "liked", "to", "play", "park", "rate", "three", "small"]


def requests(count: int, **changes: Any) -> list[GenerationRequest]:
    rng = random.Random(0)
    return [
        GenerationRequest(
            id=f"r{i:03}",
            prompt=" ".join(rng.choices(WORDS, k=rng.randint(1, 12))),
            **({"seeds": (2 * i, 2 * i + 1), "n": 2, "temperature": 0.8, "top_p": 0.9, "max_new_tokens": 24} | changes),
        )
        for i in range(count)
    ]


def answers(engine: Any, items: list[GenerationRequest], **options: Any) -> dict[str, Completion]:
    return {c.id: c for batch in engine.generate(items, **options) for c in batch}


def reference(engine: Any, request: GenerationRequest) -> str:
    """Greedy text by ``model.generate``."""
    loaded = engine._runner.model
    ids = engine._encoder.encode([request], [1])[0]
    out = loaded.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=request.max_new_tokens,
        pad_token_id=1,
    )[0, len(ids) :].tolist()
    new = out[: out.index(1)] if 1 in out else out
    return str(engine._decoder.text(new, ids[-1]))


ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {"sliding_window": 6},
    "GPT2": {},
    "Gemma2": {"sliding_window": 6, "head_dim": 8},
    "Bloom": {},
    "GPTNeo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 6},
    "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "Mamba": {"state_size": 4},
    "Lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # transformers' own deprecations differ between architectures
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_text_is_that_of_model_generate(
    name: str, build_model: Callable[..., Any], engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(build_model(name, **ARCHITECTURES[name]))
    items = requests(6, temperature=0, n=1, max_new_tokens=12)
    shared = "once upon a time there was a little cat who liked to play in the park " * 2
    items += [replace(r, id="s" + r.id, prompt=shared + str(r.prompt)) for r in items[:3]]
    found = answers(engine, items)
    for item in items:
        assert found[f"{item.id}/0"].text == reference(engine, item), item.id


@pytest.mark.parametrize("name", ["Mistral", "Gemma2", "GPTNeo", "Mpt"])
def test_padding_pushes_nothing_away(name: str, build_model: Callable[..., Any], engine_of: Callable[..., Any]) -> None:
    """A common prefix is read once and shorter prompts padded behind it; windows, and Mpt's ALiBi, count columns."""
    engine = engine_of(build_model(name, **ARCHITECTURES[name]))
    shared = "once upon a time there was a little cat "
    prompts = ["park", "liked to play in the park with three small cats who rate the time"]
    items = [
        GenerationRequest(id=f"r{i}", prompt=shared + p, temperature=0, max_new_tokens=8) for i, p in enumerate(prompts)
    ]
    together = answers(engine, items)
    assert together == {k: v for item in items for k, v in answers(engine, [item]).items()}


def test_a_model_without_a_cache_answers_as_one_with_it(
    engine: Any, engine_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "takes_cache", lambda model: False)
    slow = engine_of(engine._runner.model)
    assert not slow._runner.plain
    items = requests(6)
    assert answers(slow, items) == answers(engine, items)


def test_only_plain_attention_is_padded(build_model: Callable[..., Any]) -> None:
    assert cache.holds_plain_attention(build_model("Llama").config)
    assert not cache.holds_plain_attention(build_model("Lfm2", **ARCHITECTURES["Lfm2"]).config)


def test_the_same_call_gives_the_same_texts_in_any_order(engine: Any) -> None:
    items = requests(30)
    first = [c for batch in engine.generate(items) for c in batch]
    random.Random(1).shuffle(items)
    assert [c for batch in engine.generate(items) for c in batch] == first


@pytest.mark.slow
def test_texts_do_not_depend_on_the_batch(engine: Any, engine_of: Callable[..., Any]) -> None:
    items = requests(40, n=5, seeds=(1, 2, 3, 4, 5), max_new_tokens=12)
    large = answers(engine, items)
    alone = answers(engine_of(engine._runner.model, tokens_per_batch=1), items)
    same = sum(large[i].text == alone[i].text for i in large)
    assert large.keys() == alone.keys()
    assert same >= 0.98 * len(large)  # a draw at a boundary may flip by the last bits of the logits


def test_samples_differ_by_seed_and_by_nothing_else(engine: Any) -> None:
    one = replace(requests(1)[0], seeds=(7, 8, 7), n=3)
    a, b, c = answers(engine, [one]).values()
    assert a.text == c.text != b.text
    assert (a.seed, b.seed, a.index, b.index) == (7, 8, 0, 1)
    split = [replace(one, id="x", seeds=(7,), n=1), replace(one, id="y", seeds=(8,), n=1)]
    assert [answers(engine, split)[i].text for i in ("x/0", "y/0")] == [a.text, b.text]


def test_each_step_draws_with_its_own_number(engine: Any) -> None:
    item = replace(requests(1)[0], n=1, seeds=(11,), max_new_tokens=15, min_new_tokens=15, top_p=1.0)
    ids = list(engine._encoder.encode([item], [15])[0])
    start = len(ids)
    with torch.inference_mode():
        for step in range(15):
            logits = engine._runner.model(torch.tensor([ids])).logits[:, -1]
            logits[:, 1] = -torch.inf
            u = torch.from_numpy(uniform(np.array([11], dtype=np.uint64), step))
            ids += draw(logits, torch.tensor([0.8]), torch.ones(1), u).tolist()
    assert answers(engine, [item])["r000/0"].text == engine._decoder.text(ids[start:], ids[start - 1])


def test_seeds_outside_64_bits_are_taken(engine: Any) -> None:
    item = replace(requests(1)[0], seeds=(-1, 2**64 - 1))
    a, b = answers(engine, [item]).values()
    assert a.text == b.text


def test_a_resumed_call_makes_the_same_batches(engine_of: Callable[..., Any], engine: Any) -> None:
    small = engine_of(engine._runner.model, tokens_per_batch=150)
    items = requests(12, max_new_tokens=8)
    whole = list(small.generate(items))
    assert len(whole) > 3
    done = {c.prompt_id for c in whole[0]} | {c.prompt_id for c in whole[2]} | {whole[1][0].prompt_id}
    assert list(small.generate(items, done=done)) == [whole[1], *whole[3:]]


def test_mixed_sampling_lengths_and_samples_in_one_batch(engine: Any, engine_of: Callable[..., Any]) -> None:
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0, "max_new_tokens": 3},
        {"temperature": 0.5, "top_p": 1.0, "max_new_tokens": 20},
        {"n": 5, "seeds": (1, 2, 3, 4, 5), "top_p": 0.7},
        {"max_new_tokens": 1},
    ]
    items = [replace(r, **kinds[i % 4]) for i, r in enumerate(requests(12))]
    alone = answers(engine_of(engine._runner.model, tokens_per_batch=1), items)
    together = answers(engine, items)
    assert {k: v.text for k, v in together.items()} == {k: v.text for k, v in alone.items()}
    for item in items:
        assert all(together[f"{item.id}/{i}"].n_tokens <= item.max_new_tokens for i in range(item.n))


def test_finished_rows_leave_the_batch(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    extend = decode.ModelRunner.extend

    def spy(self: Any, state: Any, ids: torch.Tensor) -> torch.Tensor:
        rows.append(len(ids))
        return extend(self, state, ids)

    monkeypatch.setattr(decode.ModelRunner, "extend", spy)
    items = [
        replace(r, n=1, seeds=(1,), max_new_tokens=2 + i, min_new_tokens=2 + i) for i, r in enumerate(requests(20))
    ]
    answers(engine, items)
    assert rows[0] == 20
    assert rows[-1] <= 2
    assert sum(rows) < 0.65 * 20 * len(rows)


def test_samples_fork_from_one_prefill_and_a_common_prefix_is_read_once(engine: Any) -> None:
    model, read = engine._runner.model, []
    handle = model.register_forward_pre_hook(lambda m, a, k: read.append(k["input_ids"].numel()), with_kwargs=True)
    rubric = "rate the cat in the park from 0 to 5 " * 4
    items = [replace(r, prompt=rubric + str(r.prompt), n=4, seeds=(1, 2, 3, 4), max_new_tokens=1) for r in requests(10)]
    try:
        answers(engine, items)
    finally:
        handle.remove()
    lengths = [len(p) for p in engine._encoder.encode(items, [1] * 10)]
    shared = len(engine._encoder.tokenize([(rubric.rstrip(), False)])[0])
    assert len(read) == 2
    assert read[0] >= shared
    assert read[1] == 10 * (max(lengths) - read[0])  # not 40 rows: samples fork afterwards


def test_reading_a_prefix_once_changes_no_text(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rubric = "rate the cat in the park from 0 to 5 " * 4
    items = [replace(r, prompt=rubric + str(r.prompt)) for r in requests(20)]
    shared = answers(engine, items)
    monkeypatch.setattr(decode, "MIN_PREFIX", 10**9)
    assert {k: v.text for k, v in answers(engine, items).items()} == {k: v.text for k, v in shared.items()}


def test_max_new_tokens_counts_generated_tokens(engine: Any) -> None:
    item = replace(requests(1)[0], n=1, seeds=(3,), max_new_tokens=9, min_new_tokens=9)
    (found,) = answers(engine, [item]).values()
    assert (found.n_tokens, found.finish_reason) == (9, "length")


def test_the_end_token_ends_and_is_not_counted(engine_of: Callable[..., Any], engine: Any) -> None:
    item = replace(requests(1)[0], n=1, temperature=0, max_new_tokens=12)
    plain = answers(engine, [item])["r000/0"]
    ids = engine._encoder.encode([item], [1])[0]
    made = engine._runner.model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=12, eos_token_id=-1, pad_token_id=1
    )[0, len(ids) :].tolist()
    end = next(i for i in range(3, 12) if made[i] not in made[:i])
    ended = answers(engine_of(engine._runner.model, eos=frozenset({made[end], 329})), [item])["r000/0"]
    assert (ended.n_tokens, ended.finish_reason) == (end, "stop")
    assert plain.text.startswith(ended.text)
    held = replace(item, min_new_tokens=end + 2)
    longer = answers(engine_of(engine._runner.model, eos=frozenset({made[end]})), [held])["r000/0"]
    assert longer.n_tokens >= end + 2


def test_a_stop_string_cuts_the_text_even_when_it_spans_tokens(engine: Any) -> None:
    item = replace(requests(1)[0], n=1, seeds=(3,), max_new_tokens=40, min_new_tokens=40)
    whole = answers(engine, [item])["r000/0"]
    assert whole.finish_reason == "length"
    stop = whole.text[7:12]  # tokens of a random model are short: five characters span several
    cut = answers(engine, [replace(item, stop=("never there", stop))])["r000/0"]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert 1 < cut.n_tokens < whole.n_tokens


def test_without_an_end_token_generation_runs_to_its_bound(engine_of: Callable[..., Any], engine: Any) -> None:
    endless = engine_of(engine._runner.model, eos=frozenset(), fill=0)
    found = answers(endless, requests(5))
    assert {(c.n_tokens, c.finish_reason) for c in found.values()} == {(24, "length")}


def test_messages_and_assistant_prefix(engine: Any) -> None:
    messages = (Message(role="user", content="name three red things"),)
    base = GenerationRequest(id="m", prompt=messages, temperature=0, max_new_tokens=8)
    text = replace(base, id="t", prompt="<|user|>")  # hostile text is not the template
    prefixed = replace(base, id="p", assistant_prefix="Score:")
    found = answers(engine, [base, text, prefixed])
    assert len({c.text for c in found.values()}) == 3
    assert not found["p/0"].text.startswith("Score:")
    assert found["p/0"].text == reference(engine, prefixed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 3}, r"2 seed\(s\) for n=3"),
        ({"n": 0}, "n=0"),
        ({"temperature": -1.0}, "temperature=-1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_p": 0.0}, "top_p=0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"min_new_tokens": 99}, "min_new_tokens=99"),
        ({"stop": ("",)}, "empty stop string"),
        ({"max_new_tokens": 1000}, "1000 new tokens leave no room"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_computed(
    engine: Any, change: dict[str, Any], message: str
) -> None:
    items = requests(2)
    with pytest.raises(EngineError, match=rf"'r001'.*{message}"):
        engine.generate([items[0], replace(items[1], **change)])


def test_a_prompt_beyond_the_context_fails_alone_and_changes_no_other_answer(engine: Any) -> None:
    items = requests(3)
    long = replace(items[1], prompt="1" * 300)
    alone = answers(engine, [items[0], items[2]])
    assert not engine.failures.keys() & {i.id for i in items}
    assert answers(engine, [items[0], long, items[2]]) == alone
    assert engine.failures[long.id] == "too_long"
    assert answers(engine, [items[0]])
    assert engine.failures[long.id] == "too_long"  # it was not asked for again
    assert answers(engine, [items[1]])
    assert long.id not in engine.failures


def test_ids_must_be_unique(engine: Any) -> None:
    with pytest.raises(EngineError, match=r"'r000'.*unique"):
        engine.generate(requests(1) * 2)


def test_no_requests_no_batches(engine: Any) -> None:
    assert list(engine.generate([])) == []
    assert list(engine.choice_logprobs([])) == []


def test_broken_weights_are_an_error(build_model: Callable[..., Any], engine_of: Callable[..., Any]) -> None:
    model = build_model()
    model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        list(engine_of(model).generate(requests(1)))


def test_a_closed_engine_says_so(build_model: Callable[..., Any], engine_of: Callable[..., Any]) -> None:
    import weakref

    model = build_model()
    engine = engine_of(model)
    gone = weakref.ref(model)
    del model
    engine.close()
    assert gone() is None
    with pytest.raises(EngineError, match="was closed"):
        engine.generate(requests(1))


def test_count_tokens(engine: Any) -> None:
    assert engine.count_tokens("123") == 3
    assert engine.count_tokens("") == 0
    assert engine.count_tokens("\ud800") > 0


def short_of_memory(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """Batches of more rows fail as on a GPU; the rows of all attempts."""
    attempts: list[int] = []

    def answer(runner: Any, decoder: Any, eos: Any, requests: Any, prompts: Any) -> Any:
        attempts.append(sum(r.n for r in requests))
        if attempts[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate_batch(runner, decoder, eos, requests, prompts)

    monkeypatch.setattr("selfreward_bench.engines.transformers.generate_batch", answer)
    return attempts


@pytest.mark.slow
def test_a_batch_that_does_not_fit_the_memory_is_halved(
    engine_of: Callable[..., Any], build_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All answers come, batch by batch as planned; what is as large is not tried again, and it is told once."""
    items = [replace(r, prompt="once upon a time") for r in requests(8)]
    expected = answers(engine_of(build_model()), items)
    engine = engine_of(build_model())
    attempts = short_of_memory(monkeypatch, rows=3 * items[0].n)
    (batch,) = engine.generate(items)
    assert {c.id: c.text for c in batch} == {name: c.text for name, c in expected.items()}
    assert attempts == [n * items[0].n for n in (8, 4, 2, 2, 2, 2)]
    assert engine.halved == 3
    (note,) = engine.take_notes()
    assert note.startswith("3 batches did not fit the memory and were halved; set engine.tokens_per_batch below ")
    assert engine.take_notes() == ()


def test_a_request_that_alone_does_not_fit_the_memory_says_the_way_out(
    engine_of: Callable[..., Any], build_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(build_model())
    short_of_memory(monkeypatch, rows=0)
    with pytest.raises(EngineError, match=r"one request's, do not fit the memory\. Lower max_new_tokens"):
        list(engine.generate(requests(2)))
