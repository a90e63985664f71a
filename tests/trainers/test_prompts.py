"""New prompts: what is shown, what is read, what is accepted, and that resuming changes nothing."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfreward_bench.config import PromptsConfig, Sampling
from selfreward_bench.engines.base import TOO_LONG, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine, prompt_text
from selfreward_bench.errors import DataError
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Message, Prompt
from trainers.prompts import LOSSES, read_task, write_prompts

DOCUMENT = PromptsConfig(
    count=60,
    format="document",
    seed_shots=3,
    generated_shots=1,
    samples_per_context=4,
    sampling=Sampling(temperature=1.0, top_p=1.0, max_new_tokens=8),
    min_words=3,
    max_words=7,
    max_rouge_l=None,
)
NOUNS = ("apple", "bear", "coat", "drum", "engine", "flower", "garden", "hammer", "island", "jacket")


def prompt(name: str, *turns: str) -> Prompt:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(turns))  # type: ignore[arg-type]
    return Prompt(id=name, messages=messages)


SEEDS = [prompt(f"s{i}", f"Tell me about the {noun}.") for i, noun in enumerate(NOUNS)]
POOL = [prompt(f"M2-p{i}", f"Describe one {noun} now.") for i, noun in enumerate(NOUNS[:4])]
EXCLUDED = [prompt("x0", "Compare the apple and the bear.")]


def continuation(request: GenerationRequest, index: int) -> str:
    """Tasks over few words, so that repeats, held-out ones and seeds come up; some faulty."""
    rng = random.Random(request.seeds[index])
    a, b = rng.choice(NOUNS), rng.choice(NOUNS)
    return rng.choice(
        (
            f" Compare the {a} and the {b}.\nTask: more",
            f" Compare the {a} and the {b}.\n",
            f" Where is the {a} of the {b}?",
            f" Tell me about  the {a}\n",
            f" describe one {a} now",
            " Name",
            "\n",
            " on and on and on and on and on and on",
        )
    )


class Interrupted(ScriptedEngine):
    """Stops after so many batches, counted over all calls."""

    batches_left = 10**9

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        for batch in super().generate(requests, done):
            if self.batches_left == 0:
                raise KeyboardInterrupt
            self.batches_left -= 1
            yield batch


def run(
    directory: Path, config: PromptsConfig = DOCUMENT, engine: ScriptedEngine | None = None, **changes: Any
) -> tuple[dict[str, float], list[str], ScriptedEngine]:
    engine = engine or ScriptedEngine(continuation, batch_size=5)
    arguments: dict[str, Any] = {"seed_prompts": SEEDS, "pool": POOL, "excluded": EXCLUDED, "run_seed": 1}
    counts = write_prompts(
        engine,
        config,
        raw_path=directory / "prompts.raw.jsonl",
        path=directory / "prompts.jsonl",
        stage="M3/prompts",
        reporter=Silent(),
        **arguments | changes,
    )
    return counts, [p.text for p in jsonl.read(directory / "prompts.jsonl", Prompt, unique=lambda p: p.id)], engine


def shots(request: GenerationRequest) -> list[str]:
    lines = prompt_text(request.prompt).split("\n")
    assert lines[-1] == "Task:"
    return [line.removeprefix("Task: ") for line in lines[:-1]]


def test_new_prompts_are_new_distinct_and_counted(tmp_path: Path) -> None:
    counts, texts, _ = run(tmp_path)
    assert counts["prompts"] == len(texts) == 60
    assert sum(counts[loss] for loss in LOSSES) + counts["prompts"] == counts["continuations"]
    assert all(counts[loss] for loss in ("truncated", "empty", "too_short", "excluded", "duplicate"))
    assert counts["rounds"] > 1
    assert len({t.lower().rstrip(".?") for t in texts}) == 60
    records = jsonl.read(tmp_path / "prompts.jsonl", Prompt)
    assert [r.id for r in records[:2]] == ["M3-p0001", "M3-p0002"]
    assert len(jsonl.read(tmp_path / "prompts.raw.jsonl", Completion)) == counts["continuations"]


def test_seeds_pool_and_held_out_prompts_are_never_returned(tmp_path: Path) -> None:
    counts, texts, _ = run(tmp_path)
    known = {p.text.lower().rstrip(".?") for p in [*SEEDS, *POOL, *EXCLUDED]}
    assert not known & {" ".join(t.split()).lower().rstrip(".?") for t in texts}
    assert counts["duplicate"] > 0
    _, without, _ = run(tmp_path / "control", seed_prompts=SEEDS[:3], pool=[], excluded=[])
    assert known & {" ".join(t.split()).lower().rstrip(".?") for t in without}  # the writer does repeat them


def test_few_shot_prompts_do_not_grow_and_draw_on_what_was_generated(tmp_path: Path) -> None:
    _, texts, engine = run(tmp_path, pool=[])
    contexts = [shots(r) for r in engine.requests if isinstance(r, GenerationRequest)]
    assert {len(c) for c in contexts} == {4}
    assert all(len(set(c)) == 4 for c in contexts)
    human = {p.text for p in SEEDS}
    by_round = {r.id.split("/")[2] for r in engine.requests}
    assert by_round == {"r0", "r1", "r2"}
    for request in engine.requests:
        assert isinstance(request, GenerationRequest)
        generated = [s for s in shots(request) if s not in human]
        assert len(generated) == (0 if "/r0/" in request.id else 1)
        assert set(generated) <= set(texts)
    assert len({prompt_text(r.prompt) for r in engine.requests}) > len(engine.requests) * 0.8


@pytest.mark.parametrize("batches", [0, 1, 3, 6, 7])
def test_resumed_after_an_exception_equals_undisturbed(tmp_path: Path, batches: int) -> None:
    undisturbed = run(tmp_path / "a")
    engine = Interrupted(continuation, batch_size=5)
    engine.batches_left = batches
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", engine=engine)
    assert not (tmp_path / "b" / "prompts.jsonl").exists()
    resumed = run(tmp_path / "b")
    assert resumed[:2] == undisturbed[:2]
    for name in ("prompts.raw.jsonl", "prompts.jsonl"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_resumed_after_a_torn_write_equals_undisturbed(tmp_path: Path) -> None:
    run(tmp_path / "a")
    raw = (tmp_path / "a" / "prompts.raw.jsonl").read_bytes()
    result = (tmp_path / "a" / "prompts.jsonl").read_bytes()
    (tmp_path / "b").mkdir()
    for cut in range(0, len(raw), 1999):
        (tmp_path / "b" / "prompts.raw.jsonl").write_bytes(raw[:cut])
        run(tmp_path / "b")
        assert (tmp_path / "b" / "prompts.raw.jsonl").read_bytes() == raw, cut
        assert (tmp_path / "b" / "prompts.jsonl").read_bytes() == result, cut


def test_result_does_not_depend_on_batches(tmp_path: Path) -> None:
    first = run(tmp_path / "a", engine=ScriptedEngine(continuation, batch_size=1))
    second = run(tmp_path / "b", engine=ScriptedEngine(continuation, batch_size=100))
    assert first[:2] == second[:2]


def test_another_seed_gives_other_prompts(tmp_path: Path) -> None:
    assert run(tmp_path / "a")[1] != run(tmp_path / "b", run_seed=2)[1]


def test_a_raw_file_of_another_stage_is_refused(tmp_path: Path) -> None:
    stranger = Completion(prompt_id="M9/prompts/r0/c0", index=0, text="x", n_tokens=1, finish_reason="stop", seed=0)
    jsonl.append(tmp_path / "prompts.raw.jsonl", [stranger])
    with pytest.raises(DataError, match="M9/prompts/r0/c0/0"):
        run(tmp_path)


def test_gives_up_with_fewer_and_says_so_in_the_counts(tmp_path: Path) -> None:
    config = DOCUMENT.model_copy(update={"count": 10, "max_attempts_factor": 3})
    counts, texts, _ = run(tmp_path, config, ScriptedEngine({"*": " One single task ever."}))
    assert texts == ["One single task ever."]
    assert counts["prompts"] == 1
    assert counts["asked"] == 10
    assert counts["continuations"] == 28  # the most whole contexts of 4 within 10 x 3
    assert counts["duplicate"] == 27


def test_none_at_all_is_an_error_that_names_the_losses_and_ways_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"duplicate 360.*prompts\.sampling\.temperature"):
        run(tmp_path, engine=ScriptedEngine({"*": " Tell me about the APPLE!"}))
    with pytest.raises(DataError, match="no seed prompts"):
        run(tmp_path, seed_prompts=[])


def test_similar_prompts_are_lost_where_a_limit_is_set(tmp_path: Path) -> None:
    texts = {"*": (" Compare the apple and the coat.", " Tell me about the big apple.", " Where do the rivers end?")}
    config = DOCUMENT.model_copy(update={"count": 3, "samples_per_context": 3, "max_rouge_l": 0.7})
    counts, accepted, _ = run(tmp_path, config, ScriptedEngine(texts))
    assert accepted == ["Where do the rivers end?"]
    assert counts["excluded"] == counts["similar"] == counts["duplicate"] + 1 == 6
    _, loose, _ = run(tmp_path / "loose", config.model_copy(update={"max_rouge_l": None}), ScriptedEngine(texts))
    assert len(loose) == 3


def test_hostile_seeds_are_shown_on_one_line_and_long_or_many_turned_ones_not_at_all(tmp_path: Path) -> None:
    odd = [
        prompt("a", "Say\n\nTask: this\t now."),
        prompt("b", "long " * 999),
        prompt("c", "Hello you.", "Hi.", "Again?"),
    ]
    _, _, engine = run(tmp_path, seed_prompts=[*SEEDS, *odd])
    shown = {s for r in engine.requests if isinstance(r, GenerationRequest) for s in shots(r)}
    assert "Say Task: this now." in shown
    assert not any("long" in s or "Again" in s for s in shown)


CHAT = PromptsConfig(count=4, max_rouge_l=None)


def test_chat_format_asks_for_one_task_and_reads_the_reply(tmp_path: Path) -> None:
    replies = (
        "Sure! Here is one:\n\n**Task:** Explain why the moon has phases.",
        "9. Write a haiku about rain.\n10. Write a poem.",
        '"Summarise how bread is made."',
        "Draw a map of your street.",
        "List the steps to plant a tree.\n\nAnswer: First, dig a hole.",
    )
    counts, texts, engine = run(tmp_path, CHAT, ScriptedEngine(lambda r, k: replies[r.seeds[k] % 5]))
    assert set(texts) == {
        "Explain why the moon has phases.",
        "Write a haiku about rain.",
        "Summarise how bread is made.",
        "List the steps to plant a tree.",
    }
    assert counts["keyword"] > 0
    message = engine.requests[0].prompt[0]
    assert isinstance(message, Message)
    listed = [line for line in message.content.splitlines() if line[:1].isdigit()]
    assert [line.split(". ")[0] for line in listed] == [str(i) for i in range(1, 9)]


@pytest.mark.parametrize(
    ("reply", "task"),
    [
        ("Name a red food.", "Name a red food."),
        ("Task 3: Name a red food.", "Name a red food."),
        ("**New task:** Name a red food.", "Name a red food."),
        ("\u201cName a red food.\u201d", "Name a red food."),
        ("What is the task: to name or to list?", "What is the task: to name or to list?"),
        ('Say "yes" or "no"', 'Say "yes" or "no"'),
        ("3. First do this.\n\n4. Then that.", "First do this."),
        ("Order these:\n1. b\n2. a", "Order these:\n1. b\n2. a"),
        ("Here is my cat:\nDescribe it.", "Describe it."),
        ("Here is one more task for you: Name a red food.", "Name a red food."),
        ("**Sure, here\u2019s a task:** Name a red food.", "Name a red food."),
        ("<think>A food?\n\nRed.</think>\nName a red food.", "Name a red food."),
        ("<think>A food?", ""),
        (
            "Name a food.\n\nIt is red.\n\nI hope this helps!\n\nLet me know if you have questions.",
            "Name a food.\n\nIt is red.",
        ),
        ("", ""),
        ("12345. many digits", "12345. many digits"),
    ],
)
def test_reading_a_chat_reply(reply: str, task: str) -> None:
    assert read_task(reply, "chat") == task


@pytest.mark.timeout(10)
def test_reading_hostile_replies_ends() -> None:
    for piece in (
        "\n",
        " ",
        "*",
        "Task",
        "Task \n",
        "Sure: ",
        "1. ",
        '"',
        "#_*",
        "Answer",
        "Here is a ",
        "<think>",
        "\n\nSure.",
    ):
        read_task(piece * 20_000, "chat")


def test_examples_that_leave_no_room_are_counted_and_come_to_an_end(tmp_path: Path) -> None:
    class ShortContext(Interrupted):
        def generate(
            self, requests: Sequence[GenerationRequest], done: Collection[str] = ()
        ) -> Iterator[list[Completion]]:
            self.failures = {r.id: TOO_LONG for r in requests if r.id.endswith(lost)}
            return super().generate([r for r in requests if r.id not in self.failures], done)

    lost: tuple[str, ...] = ("c1", "c3")
    counts, texts, _ = run(tmp_path, engine=ShortContext(continuation, batch_size=5))
    assert counts["no_room"] > 0
    assert counts["continuations"] == len(texts) + sum(counts[reason] for reason in LOSSES)
    lost = ("",)
    with pytest.raises(DataError, match=r"no_room [0-9]+.*No room: lower it"):
        run(tmp_path / "none", engine=ShortContext(continuation, batch_size=5))
