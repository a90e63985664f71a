"""Candidates: N answers of M_t to every new prompt, stored batch by batch.

A stage that was cut off goes on where its file ends: what is stored is kept, the rest is appended, and the file comes
out as an undisturbed stage would have written it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from selfreward_bench.config import CandidatesConfig
from selfreward_bench.engines.base import REFUSED, TOO_LONG, Engine, GenerationRequest
from selfreward_bench.errors import DataError
from selfreward_bench.judges.fencing import clean
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Prompt
from trainers.replies import unanswered

__all__ = ["by_prompt", "generate_missing", "refuse_strangers", "write_candidates"]


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
    requests = [_request(prompt, config, run_seed, stage) for prompt in prompts]
    reporter.started(stage, sum(r.n for r in requests), "completions")
    stored = {c.id: c for c in jsonl.resume(path, Completion, unique=lambda c: c.id)}
    refuse_strangers(path, stored, requests)
    reporter.advanced(len(stored))
    completions = generate_missing(engine, requests, path, stored, reporter.advanced)
    answered = {c.prompt_id for c in completions}
    if not answered:
        raise DataError(
            f"Each of the {len(prompts)} prompts with an answer of {config.sampling.max_new_tokens} tokens exceeds the "
            "model's context. Lower candidates.sampling.max_new_tokens or prompts.max_words."
        )
    return {
        "prompts": len(prompts),
        "no_room": len(prompts) - len(answered),
        "completions": len(completions),
        "truncated": sum(c.finish_reason == "length" for c in completions),
        "empty": sum(not c.text for c in completions),
        "distinct": len({(c.prompt_id, c.text) for c in completions}),
        "tokens": sum(c.n_tokens for c in completions),
    }


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
    ids = {r.id: [f"{r.id}/{k}" for k in range(r.n)] for r in requests}
    done = {name for name, samples in ids.items() if all(s in stored for s in samples)}
    if len(done) < len(requests):
        for batch in engine.generate(requests, done):
            new = [_storable(c) for c in batch if c.id not in stored]
            jsonl.append(path, new)
            stored.update((c.id, c) for c in new)
            advanced(len(new))
    failures = engine.failures
    refused = [_refused(r, k) for r in requests if failures.get(r.id) == REFUSED for k in range(r.n)]
    if refused := [c for c in refused if c.id not in stored]:
        jsonl.append(path, refused)
        stored.update((c.id, c) for c in refused)
    given = {name: samples for name, samples in ids.items() if failures.get(name) != TOO_LONG}
    if missing := [name for name, samples in given.items() if any(s not in stored for s in samples)]:
        raise unanswered(engine.name, missing, failures)
    return [stored[s] for samples in given.values() for s in samples]


def refuse_strangers(path: Path, stored: Iterable[str], requests: Sequence[GenerationRequest]) -> None:
    """Raises DataError when a file holds samples that none of the requests asks for."""
    strangers = sorted(set(stored) - {f"{r.id}/{k}" for r in requests for k in range(r.n)})
    if strangers:
        raise DataError(
            f"{path}: {len(strangers)} record(s) answer what was not asked here, first {strangers[0]!r}. The file "
            "belongs to other prompts or settings; remove it, or start over from this stage (--from-stage)."
        )


def by_prompt(prompts: Sequence[Prompt], completions: Iterable[Completion]) -> dict[str, list[Completion]]:
    """The completions of each prompt, by index; prompts in their order, also those without completions.

    Raises:
        DataError: a completion is there twice or belongs to none of the prompts.
    """
    groups: dict[str, dict[int, Completion]] = {prompt.id: {} for prompt in prompts}
    for completion in completions:
        if completion.prompt_id not in groups:
            raise DataError(f"Completion {completion.id!r} belongs to none of the {len(groups)} prompts of this stage.")
        if completion.index in groups[completion.prompt_id]:
            raise DataError(f"Completion {completion.id!r} is there twice; its file was written twice.")
        groups[completion.prompt_id][completion.index] = completion
    return {name: [group[i] for i in sorted(group)] for name, group in groups.items()}


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
