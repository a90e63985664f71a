"""Candidates: N answers of M_t to every new prompt, stored batch by batch.

A stage that was cut off goes on where its file ends: what is stored is kept, the rest is appended, and the file comes
out as an undisturbed stage would have written it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from selfreward_bench.config import CandidatesConfig
from selfreward_bench.engines.base import REFUSED, TOO_LONG, Engine, GenerationRequest
from selfreward_bench.errors import DataError
from selfreward_bench.judges.fencing import clean
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Made
from selfreward_bench.types import Completion, Prompt
from trainers.answers import Marks
from trainers.replies import unanswered

__all__ = ["generate_missing", "refuse_strangers", "write_candidates"]


def write_candidates(
    engine: Engine,
    prompts: Sequence[Prompt],
    config: CandidatesConfig,
    *,
    path: Path,
    run_seed: int,
    stage: str,
    reporter: Reporter,
) -> dict[str, float]:
    """Answers every prompt ``config.count`` times; what ``path`` holds already is not made again.

    Returns:
        Counts over the whole file, whether it was written now or earlier: ``prompts``, ``no_room`` (prompts that leave
        no room for an answer in the model's context: they get none), ``completions``, ``truncated`` (cut at
        ``max_new_tokens``), ``empty``, ``distinct`` (texts that differ, summed over prompts), ``tokens``.

    Raises:
        DataError: there are no prompts, none of them leaves room, or the file holds answers to others.
    """
    if not prompts:
        raise DataError("There are no prompts to answer. Make some first (stage prompts), or check its filters.")
    requests = Made(len(prompts), lambda at: _request(prompts[at], config, run_seed, stage))
    reporter.started(stage, len(prompts) * config.count, "completions")
    there = Marks(lambda: (prompt.id for prompt in prompts), config.count)
    _mark(path, there)
    reporter.advanced(len(there))
    _answer(engine, requests, path, there, reporter.advanced)
    answered = len(prompts) - len(there.missing())
    if not answered:
        raise DataError(
            f"Each of the {len(prompts)} prompts with an answer of {config.sampling.max_new_tokens} tokens exceeds the "
            "model's context. Lower candidates.sampling.max_new_tokens or prompts.max_words."
        )
    return {"prompts": len(prompts), "no_room": len(prompts) - answered, **_counts(path)}


def _mark(path: Path, there: Marks) -> None:
    """Marks what a stage that was cut off left in its file.

    Raises:
        DataError: that answers what was not asked, or answers it twice.
    """
    jsonl.repair(path)
    strangers: list[str] = []
    for completion in jsonl.iterate(path, Completion, allow_empty=True) if path.exists() else ():
        if not there.knows(completion.prompt_id, completion.index):
            strangers.append(completion.id)
        elif there.has(completion.prompt_id, completion.index):
            jsonl.read(path, Completion, unique=lambda c: c.id)  # names both lines
        else:
            there.add(completion.prompt_id, completion.index)
    _refuse(path, strangers)


def _counts(path: Path) -> dict[str, float]:
    """What the file holds. Texts are told apart by 64 bits of each."""
    import numpy as np  # not where a run is only looked at

    counts = dict.fromkeys(("completions", "truncated", "empty", "distinct", "tokens"), 0)
    texts = array("q")
    for completion in jsonl.iterate(path, Completion):
        counts["completions"] += 1
        counts["truncated"] += completion.finish_reason == "length"
        counts["empty"] += not completion.text
        counts["tokens"] += completion.n_tokens
        texts.append(hash((completion.prompt_id, completion.text)))
    return {**counts, "distinct": int(np.unique(np.frombuffer(texts, np.int64)).size)}


def generate_missing(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    path: Path,
    stored: dict[str, Completion],
    advanced: Callable[[int], None] = lambda _: None,
) -> list[Completion]:
    """Generates what is not stored yet and appends it batch by batch.

    A batch is appended in one write. If the machine went down within that write, the batch's first records are on the
    disk: the engine computes the batch whole again, to the same bits, and only the missing records are added.
    What a served model refused to answer is written down as that, and not asked for again.

    Args:
        stored: ``Completion.id`` -> what ``path`` holds; what is generated is added to it.
        advanced: told how many completions each batch added.

    Returns:
        The completions of all requests, in the order of the requests and their samples.

    Raises:
        EngineError: the engine left a sample out; the others are stored.
    """
    there = Marks(lambda: (r.id for r in requests), max(r.n for r in requests))
    for completion in stored.values():
        if there.knows(completion.prompt_id, completion.index):
            there.add(completion.prompt_id, completion.index)
    _answer(engine, requests, path, there, advanced, lambda c: stored.update({c.id: c}))
    given = [r for r in requests if engine.failures.get(r.id) != TOO_LONG]
    return [stored[f"{r.id}/{k}"] for r in given for k in range(r.n)]


def _answer(
    engine: Engine,
    requests: Sequence[GenerationRequest],
    path: Path,
    there: Marks,
    advanced: Callable[[int], None],
    added: Callable[[Completion], None] = lambda _: None,
) -> None:
    """See ``generate_missing``; ``there`` are marks of what is stored, all requests ask for as many samples."""

    def keep(completions: Iterable[Completion]) -> None:
        new = [_storable(c) for c in completions if not there.has(c.prompt_id, c.index)]
        jsonl.append(path, new)
        for completion in new:
            there.add(completion.prompt_id, completion.index)
            added(completion)
        advanced(len(new))

    done = there.whole()
    if len(done) < len(requests):
        for batch in engine.generate(requests, done):
            keep(batch)
    failures = engine.failures
    refused = {name for name, why in failures.items() if why == REFUSED}
    if refused:
        keep(_refused(r, k) for r in requests if r.id in refused for k in range(r.n))
    if missing := [name for name in there.missing() if failures.get(name) != TOO_LONG]:
        raise unanswered(engine.name, missing, failures)


def refuse_strangers(path: Path, stored: Iterable[str], requests: Sequence[GenerationRequest]) -> None:
    """Raises DataError when a file holds samples that none of the requests asks for."""
    _refuse(path, set(stored) - {f"{r.id}/{k}" for r in requests for k in range(r.n)})


def _refuse(path: Path, strangers: Collection[str]) -> None:
    if strangers:
        raise DataError(
            f"{path}: {len(strangers)} record(s) answer what was not asked here, first {min(strangers)!r}. The file "
            "belongs to other prompts or settings; remove it, or start over from this stage (--from-stage)."
        )


def _request(prompt: Prompt, config: CandidatesConfig, run_seed: int, stage: str) -> GenerationRequest:
    return GenerationRequest(
        id=prompt.id,
        prompt=prompt.messages,
        seeds=tuple(derive_seed(run_seed, stage, prompt.id, k) for k in range(config.count)),
        n=config.count,
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        max_new_tokens=config.sampling.max_new_tokens,
    )


def _refused(request: GenerationRequest, sample: int) -> Completion:
    seed = request.seeds[sample] if request.seeds else 0
    return Completion(prompt_id=request.id, index=sample, text="", n_tokens=0, finish_reason=REFUSED, seed=seed)


def _storable(completion: Completion) -> Completion:
    """Without what no file can hold, and without white space around it: a chat template puts its own."""
    text = clean(completion.text).strip()
    return completion if text == completion.text else completion.model_copy(update={"text": text})
