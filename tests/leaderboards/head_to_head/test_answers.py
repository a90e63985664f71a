"""Prompts and answers of head-to-head: what is read, what is refused, what is not generated twice."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderboards.base import JudgeRole, Setting, Subject
from leaderboards.head_to_head.answers import answer, default_prompts, read_entry, read_prompts
from selfreward_bench.config import EvalConfig, RunConfig, Sampling
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import DataError
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Message, Prompt

PROMPTS = [Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(10)]
CONFIG = RunConfig(eval=EvalConfig(answering=Sampling(temperature=0.7, top_p=0.9, max_new_tokens=20)))


def say(request: GenerationRequest, index: int) -> str:
    return f"Answer to {request.prompt[-1].content} {request.seeds[index]}"  # type: ignore[union-attr]


def subject(
    directory: Path,
    engine: Engine | None,
    *,
    name: str = "M1",
    config: RunConfig = CONFIG,
    done: list[int] | None = None,
) -> Subject:
    def opened() -> Engine:
        assert engine is not None, "the engine was not needed"
        return engine

    return Subject(name, opened, Setting(config), directory, (done if done is not None else []).append)


class Breaking(ScriptedEngine):
    """Fails after two batches."""

    def generate(self, requests, done=()) -> Iterator[list[Completion]]:  # type: ignore[no-untyped-def,override]
        for number, batch in enumerate(super().generate(requests, done)):
            if number == 2:
                raise RuntimeError("power cut")
            yield batch


class Losing(ScriptedEngine):
    """Gets no answer for some prompts."""

    def generate(self, requests, done=()) -> Iterator[list[Completion]]:  # type: ignore[no-untyped-def,override]
        self.failures = {"p3": "refused", "p4": "failed: timeout", "another benchmark's": "refused"}
        yield from super().generate([r for r in requests if r.id not in self.failures], done)


def test_one_answer_per_prompt_with_the_answering_settings(tmp_path: Path) -> None:
    engine, done = ScriptedEngine(say), []  # type: ignore[var-annotated]
    entry = answer(subject(tmp_path, engine, done=done), PROMPTS, fingerprint="f")
    assert (len(entry.answers), sum(done)) == (10, 10)
    assert {(r.temperature, r.top_p, r.max_new_tokens, r.n) for r in engine.requests} == {(0.7, 0.9, 20, 1)}  # type: ignore[union-attr]
    assert read_entry("M1", tmp_path) == entry


def test_seeds_differ_by_prompt_and_not_by_checkpoint(tmp_path: Path) -> None:
    one = answer(subject(tmp_path / "1", ScriptedEngine(say)), PROMPTS, fingerprint="f")
    two = answer(subject(tmp_path / "2", ScriptedEngine(say), name="M2"), PROMPTS, fingerprint="g")
    assert {i: c.seed for i, c in one.answers.items()} == {i: c.seed for i, c in two.answers.items()}
    assert len({c.seed for c in one.answers.values()}) == len(PROMPTS)


def test_what_is_stored_is_not_generated_again(tmp_path: Path) -> None:
    whole = answer(subject(tmp_path / "whole", ScriptedEngine(say, batch_size=3)), PROMPTS, fingerprint="f")
    with pytest.raises(RuntimeError, match="power cut"):
        answer(subject(tmp_path / "cut", Breaking(say, batch_size=3)), PROMPTS, fingerprint="f")
    engine, done = ScriptedEngine(say, batch_size=3), []  # type: ignore[var-annotated]
    resumed = answer(subject(tmp_path / "cut", engine, done=done), PROMPTS, fingerprint="f")
    assert (len(engine.requests), sum(done)) == (4, 10)
    assert resumed == whole
    again = answer(subject(tmp_path / "cut", None), PROMPTS, fingerprint="f")
    assert again == whole


@pytest.mark.parametrize("change", ["fingerprint", "prompts", "settings"])
def test_answers_of_something_else_are_not_used(tmp_path: Path, change: str) -> None:
    answer(subject(tmp_path, ScriptedEngine({"*": "old"})), PROMPTS, fingerprint="f")
    config = CONFIG.model_copy(update={"seed": 9}) if change == "settings" else CONFIG
    prompts = PROMPTS[:5] if change == "prompts" else PROMPTS
    fingerprint = "g" if change == "fingerprint" else "f"
    entry = answer(subject(tmp_path, ScriptedEngine({"*": "new"}), config=config), prompts, fingerprint=fingerprint)
    assert {c.text for c in entry.answers.values()} == {"new"}
    assert len(entry.answers) == len(prompts)
    back = answer(subject(tmp_path, None), PROMPTS, fingerprint="f")  # nothing is asked again
    assert {c.text for c in back.answers.values()} == {"old"}
    again = answer(subject(tmp_path, None, config=config), prompts, fingerprint=fingerprint)
    assert again == entry


def test_lost_answers_keep_their_reason_and_are_asked_for_again(tmp_path: Path) -> None:
    entry = answer(subject(tmp_path, Losing(say)), PROMPTS, fingerprint="f")
    assert read_entry("M1", tmp_path) == entry
    assert (len(entry.answers), entry.failures) == (8, {"p3": "refused", "p4": "failed: timeout"})
    assert len(answer(subject(tmp_path, ScriptedEngine(say)), PROMPTS, fingerprint="f").answers) == 10


def test_what_can_never_be_answered_opens_no_engine_again(tmp_path: Path) -> None:
    class Short(Losing):
        def generate(self, requests, done=()) -> Iterator[list[Completion]]:  # type: ignore[no-untyped-def,override]
            yield from super().generate(requests, done)
            self.failures = dict.fromkeys(self.failures, "too_long")

    entry = answer(subject(tmp_path, Short(say)), PROMPTS, fingerprint="f")
    assert entry.failures == {"p3": "too_long", "p4": "too_long"}
    assert answer(subject(tmp_path, None), PROMPTS, fingerprint="f") == entry


def test_a_directory_without_answers_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no answers for head-to-head"):
        read_entry("M1", tmp_path)


# --- prompts


def test_prompts_of_a_jsonl_file(tmp_path: Path) -> None:
    jsonl.write(tmp_path / "prompts.jsonl", PROMPTS)
    assert read_prompts(tmp_path / "prompts.jsonl") == PROMPTS


@pytest.mark.parametrize("packed", [False, True])
def test_instructions_have_ids_of_their_text(tmp_path: Path, packed: bool) -> None:
    rows = [{"instruction": f"Do {i}.", "output": "x", "dataset": "d"} for i in range(3)]
    write = gzip.compress if packed else bytes
    paths = tmp_path / ("a.json.gz" if packed else "a.json"), tmp_path / "b.json"
    paths[0].write_bytes(write(json.dumps(rows).encode()))
    paths[1].write_text(json.dumps(rows[::-1]))
    one, other = (read_prompts(p) for p in paths)
    assert [p.text for p in one] == ["Do 0.", "Do 1.", "Do 2."]
    assert {p.text: p.id for p in one} == {p.text: p.id for p in other}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1, 2]", "entry 1 has no text 'instruction'"),
        (b'[{"instruction": "a"}, {"instruction": null}]', "entry 2 has no text 'instruction'"),
        (b'[{"instruction": "  "}]', "entry 1 has no text"),
        (b'[{"instruction": "a"}, {"instruction": "a"}]', "'a' is there 2 times"),
        (b'[{"instruction": "a"}', "begins like a JSON array and is none"),
        (b"[" * 100_000, "begins like a JSON array and is none"),
        (b"[]", "holds no prompts"),
        (b"", "holds no records"),
        (b"hello", "prompts"),
        (b'{"id": "p"}', "messages"),
    ],
)
def test_what_is_no_prompt_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "prompts").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_prompts(tmp_path / "prompts")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: there is no such file"):
        read_prompts(tmp_path / "nowhere.json")


def test_half_characters_do_not_reach_a_model(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"instruction": "a\\ud800b\\u0000"}]')
    assert read_prompts(tmp_path / "a.json")[0].text == "a\ufffdb"


def test_default_prompts(tmp_path: Path, world_files: Path, make_prompts: Callable[..., list[Prompt]]) -> None:
    config = CONFIG.model_copy(update={"eval": EvalConfig(limit=4)})
    assert default_prompts(Setting(config, judge=JudgeRole("oracle"))) == make_prompts()[:4]
    (tmp_path / "alpaca_eval").mkdir()
    (tmp_path / "alpaca_eval" / "alpaca_eval.json").write_text('[{"instruction": "a"}, {"instruction": "b"}]')
    real = Setting(config, DataDir(tmp_path), JudgeRole("judge", ScriptedEngine({})))
    assert [p.text for p in default_prompts(real)] == ["a", "b"]
    jsonl.write(tmp_path / "own.jsonl", PROMPTS)
    assert default_prompts(real, tmp_path / "own.jsonl") == PROMPTS[:4]


@pytest.mark.skipif("SRBENCH_DATA_DIR" not in os.environ, reason="needs AlpacaEval's instructions")
def test_alpaca_evals_own_instructions() -> None:
    real = Setting(RunConfig(), DataDir.find(), JudgeRole("judge", ScriptedEngine({})))
    prompts = default_prompts(real)
    assert len({p.id for p in prompts}) == len({p.text for p in prompts}) == 805


def test_answers_by_another_chat_template_are_others(tmp_path: Path) -> None:
    """They are put aside, and come back; without a named one the settings are what they were before there were any."""
    engine = ScriptedEngine(say)
    first = answer(subject(tmp_path / "a", engine), PROMPTS, fingerprint="f")
    asked = len(engine.requests)
    named = answer(subject(tmp_path / "a", engine), PROMPTS, fingerprint="f", rendering={"chat_template": "hash"})
    assert len(engine.requests) == 2 * asked
    assert named.settings != first.settings
    again = answer(subject(tmp_path / "a", None), PROMPTS, fingerprint="f")
    assert again.settings == first.settings
