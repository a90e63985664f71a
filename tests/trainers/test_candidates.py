"""Candidates: counted over the whole file, and a resumed stage writes what an undisturbed one writes."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from selfreward_bench.config import CandidatesConfig, Sampling
from selfreward_bench.engines.base import TOO_LONG, GenerationRequest
from selfreward_bench.engines.scripted import ScriptedEngine
from selfreward_bench.errors import DataError, EngineError
from selfreward_bench.progress import Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Message, Prompt
from trainers.answers import Answers
from trainers.candidates import write_candidates

CONFIG = CandidatesConfig(count=3, sampling=Sampling(max_new_tokens=6))
PROMPTS = [Prompt(id=f"M2-p{i:04d}", messages=(Message(role="user", content=f"Task {i}"),)) for i in range(7)]


def answer(request: GenerationRequest, index: int) -> str:
    """Some answers are empty, some equal, some too long; all depend on the sample's seed alone."""
    kind = request.seeds[index] % 5
    return ("", "The same.", "Half\ud800 a character.", f"Number {request.seeds[index] % 97}.", "word " * 9)[kind]


class Interrupted(ScriptedEngine):
    """Stops after so many batches, as a process that is killed between two writes."""

    batches_left = 10**9

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        for batch in super().generate(requests, done):
            if self.batches_left == 0:
                raise KeyboardInterrupt
            self.batches_left -= 1
            yield batch


class Progress(Silent):
    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.total = total

    def advanced(self, amount: int = 1) -> None:
        self.done += amount


def run(path: Path, batches: int = 10**9, progress: Silent | None = None) -> dict[str, float]:
    engine = Interrupted(answer, batch_size=2)
    engine.batches_left = batches
    return write_candidates(
        engine, PROMPTS, CONFIG, path=path, run_seed=3, stage="M2/candidates", reporter=progress or Silent()
    )


@pytest.fixture
def undisturbed(tmp_path: Path) -> tuple[bytes, dict[str, float]]:
    path = tmp_path / "undisturbed.jsonl"
    counts = run(path)
    return path.read_bytes(), counts


def test_counts_are_those_of_the_records(tmp_path: Path) -> None:
    counts = run(tmp_path / "c.jsonl")
    records = jsonl.read(tmp_path / "c.jsonl", Completion)
    assert len(records) == counts["completions"] == 21
    assert counts["truncated"] == sum(r.text == "word word word word word word" for r in records) > 0
    assert counts["empty"] == sum(r.text == "" for r in records) > 0
    assert counts["distinct"] == len({(r.prompt_id, r.text) for r in records}) < 21
    assert counts["tokens"] == sum(r.n_tokens for r in records)


def test_text_is_stored_without_outer_white_space_nul_and_lone_surrogates(tmp_path: Path) -> None:
    engine = ScriptedEngine({"*": " \n a\ud800b\0 \n"})
    write_candidates(engine, PROMPTS, CONFIG, path=tmp_path / "c", run_seed=0, stage="s", reporter=Silent())
    assert {r.text for r in jsonl.read(tmp_path / "c", Completion)} == {"a\ufffdb"}


def test_every_sample_has_its_own_seed_that_depends_on_run_and_stage(tmp_path: Path) -> None:
    def seeds(run_seed: int, stage: str, name: str) -> set[int]:
        path = tmp_path / name
        write_candidates(
            ScriptedEngine(answer), PROMPTS, CONFIG, path=path, run_seed=run_seed, stage=stage, reporter=Silent()
        )
        return {r.seed for r in jsonl.read(path, Completion)}

    first, other_seed, other_stage = seeds(0, "M2/c", "a"), seeds(1, "M2/c", "b"), seeds(0, "M3/c", "c")
    assert len(first) == 21
    assert not first & other_seed
    assert not first & other_stage


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_resumed_after_an_exception_equals_undisturbed(
    tmp_path: Path, undisturbed: tuple[bytes, dict[str, float]], batches: int
) -> None:
    path = tmp_path / "c.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, batches)
    progress = Progress()
    assert run(path, progress=progress) == undisturbed[1]
    assert path.read_bytes() == undisturbed[0]
    assert progress.done == progress.total == 21


def test_resumed_after_a_torn_write_equals_undisturbed(
    tmp_path: Path, undisturbed: tuple[bytes, dict[str, float]]
) -> None:
    content, counts = undisturbed
    path = tmp_path / "c.jsonl"
    for cut in range(0, len(content), 101):
        path.write_bytes(content[:cut])
        assert run(path) == counts, cut
        assert path.read_bytes() == content, cut


def test_a_resumed_stage_makes_the_batches_of_an_undisturbed_one(tmp_path: Path) -> None:
    class BatchBound(Interrupted):
        """Sums differ in their last bits between batch shapes; here whole texts do."""

        def generate(
            self, requests: Sequence[GenerationRequest], done: Collection[str] = ()
        ) -> Iterator[list[Completion]]:
            for batch in super().generate(requests, done):
                shape = " ".join(sorted({c.prompt_id for c in batch}))
                yield [c.model_copy(update={"text": f"{c.id} beside {shape}"}) for c in batch]

    def write(name: str) -> bytes:
        engine = BatchBound(answer, batch_size=3)
        path = tmp_path / name
        write_candidates(engine, PROMPTS, CONFIG, path=path, run_seed=3, stage="s", reporter=Silent())
        return path.read_bytes()

    content = write("undisturbed")
    for n_lines in range(content.count(b"\n")):
        (tmp_path / "resumed").write_bytes(b"".join(content.splitlines(keepends=True)[:n_lines]))
        assert write("resumed") == content, n_lines


def test_what_is_there_is_neither_generated_nor_written_again(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    run(path)
    before = path.stat()
    engine = ScriptedEngine(answer)
    write_candidates(engine, PROMPTS, CONFIG, path=path, run_seed=3, stage="M2/candidates", reporter=Silent())
    assert engine.requests == []
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_batches_are_appended_and_earlier_bytes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, contents, inodes = tmp_path / "c.jsonl", [b""], set()
    append = jsonl.append

    def watched(target: Path, records: list[Completion]) -> None:
        append(target, records)
        contents.append(path.read_bytes())
        inodes.add(path.stat().st_ino)

    monkeypatch.setattr(jsonl, "append", watched)
    run(path)
    assert len(contents) == 5  # nothing, then one write for each of four batches
    assert all(later.startswith(earlier) and later != earlier for earlier, later in itertools.pairwise(contents))
    assert len(inodes) == 1


def test_a_file_of_other_prompts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    run(path)
    with pytest.raises(DataError, match=r"M2-p0006/0.*--from-stage"):
        write_candidates(
            ScriptedEngine(answer), PROMPTS[:6], CONFIG, path=path, run_seed=3, stage="s", reporter=Silent()
        )


def test_no_prompts_and_missing_answers_are_errors(tmp_path: Path) -> None:
    class Lazy(ScriptedEngine):
        def generate(
            self, requests: Sequence[GenerationRequest], done: Collection[str] = ()
        ) -> Iterator[list[Completion]]:
            return (batch[:-1] for batch in super().generate(requests, done))

    with pytest.raises(DataError, match="no prompts"):
        write_candidates(
            ScriptedEngine(answer), [], CONFIG, path=tmp_path / "c", run_seed=0, stage="s", reporter=Silent()
        )
    with pytest.raises(EngineError, match="no answer to 1 question"):
        write_candidates(Lazy(answer), PROMPTS, CONFIG, path=tmp_path / "c", run_seed=0, stage="s", reporter=Silent())


class ShortContext(Interrupted):
    """Gives no answer where the prompt names one of the numbers; as the engines of this process do."""

    def __init__(self, long: Collection[str]) -> None:
        super().__init__(answer, batch_size=2)
        self.long = long

    def generate(self, requests: Sequence[GenerationRequest], done: Collection[str] = ()) -> Iterator[list[Completion]]:
        self.failures = {r.id: TOO_LONG for r in requests if r.id in self.long}
        return super().generate([r for r in requests if r.id not in self.failures], done)


def test_a_prompt_that_leaves_no_room_gets_no_answer_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"

    def go(engine: ShortContext) -> dict[str, float]:
        return write_candidates(engine, PROMPTS, CONFIG, path=path, run_seed=3, stage="s", reporter=Silent())

    engine = ShortContext({PROMPTS[2].id})
    engine.batches_left = 1
    with pytest.raises(KeyboardInterrupt):
        go(engine)
    counts = go(ShortContext({PROMPTS[2].id}))  # resumed
    assert counts["no_room"] == 1
    assert counts["completions"] == 18
    assert counts == go(ShortContext({PROMPTS[2].id}))
    assert [len(group) for _, group in Answers(PROMPTS, jsonl.read(path, Completion))] == [3, 3, 0, 3, 3, 3, 3]


def test_no_room_for_any_answer_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    engine = ShortContext({p.id for p in PROMPTS})
    with pytest.raises(DataError, match=r"Lower candidates\.sampling\.max_new_tokens"):
        write_candidates(engine, PROMPTS, CONFIG, path=tmp_path / "c", run_seed=3, stage="s", reporter=Silent())


def test_another_failure_of_the_engine_is_never_dropped(tmp_path: Path) -> None:
    class Failing(ShortContext):
        def generate(
            self, requests: Sequence[GenerationRequest], done: Collection[str] = ()
        ) -> Iterator[list[Completion]]:
            batches = super().generate(requests, done)
            self.failures = dict.fromkeys(self.failures, "the server is away")
            return batches

    with pytest.raises(EngineError, match=r"gave no answer to 1 question.*the server is away"):
        write_candidates(
            Failing({"M2-p0002"}), PROMPTS, CONFIG, path=tmp_path / "c", run_seed=3, stage="s", reporter=Silent()
        )
