"""New prompts from a file of the user's: a seeded draw for each round, none of it held out or taken before. For some
methods with the answers that come with them: a file's, or those of the seed data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from selfreward_bench.config import PromptsConfig, RunConfig
from selfreward_bench.errors import DataError
from selfreward_bench.judges.prompts import render_conversation
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Completion, Example, Prompt
from trainers import importing
from trainers.filters import Seen

__all__ = ["answers_to", "asked", "digest", "load_examples", "load_prompts", "needed", "take_prompts"]


def load_prompts(source: str) -> Sequence[Prompt]:
    """The prompts of a file, in its order.

    Raises:
        DataError: it cannot be read, or holds no prompts; names the line.
    """
    return cast(Sequence[Prompt], importing.load(source, "prompts").records)


def digest(prompts: Sequence[Prompt] | Sequence[Example]) -> str:
    """What a stage keeps of the file: a hash of its prompts, with their answers where these count."""
    return hash_json(prompts)


def take_prompts(
    prompts: Sequence[Prompt],
    config: PromptsConfig,
    *,
    path: Path,
    used: Iterable[Prompt],
    excluded: Iterable[Prompt],
    run_seed: int,
    stage: str,
    reporter: Reporter,
) -> dict[str, int]:
    """Writes up to ``config.count`` of them, whole conversations as they stand, in a seeded order.

    The order is of the run, so that a later round goes on where an earlier one ended. Lengths and words are the user's
    choice; ``config.max_rouge_l`` alone holds for prompts similar to held-out ones.

    Args:
        path: the prompts taken; ids are like ``M2-p0001``, and ``source`` names the file's.
        used: seed prompts and those of earlier rounds.
        excluded: held-out prompts; neither they nor similar ones are taken.
        stage: such as ``M2/prompts``.

    Returns:
        ``prompts`` (fewer than asked for where the file ends), ``asked``, ``given`` (the file's), and the reasons for
        which prompts of the file were passed over: ``excluded``, ``duplicate``.

    Raises:
        DataError: none is left.
    """
    reporter.started(stage, config.count, "prompts")
    held, seen = Seen(map(_text, excluded), config.max_rouge_l), Seen(map(_text, used), None)
    counts: dict[str, int] = {"prompts": 0, "asked": config.count, "given": len(prompts)}
    counts |= dict.fromkeys(("excluded", "duplicate"), 0)
    ids = [prompt.id for prompt in prompts]
    with jsonl.writing(path) as add:
        for at in sorted(range(len(ids)), key=lambda at: (derive_seed(run_seed, "prompts/given", ids[at]), ids[at])):
            if counts["prompts"] == config.count:
                break
            prompt = prompts[at]
            text = _text(prompt)
            if held.has(text) or held.has_similar(text):
                counts["excluded"] += 1
            elif seen.has(text):
                counts["duplicate"] += 1
            else:
                seen.add(text)
                counts["prompts"] += 1
                name = f"{stage.partition('/')[0]}-p{counts['prompts']:04d}"
                add([prompt.model_copy(update={"id": name, "source": _source(config.writer, prompt.id)})])
        if not counts["prompts"]:
            raise DataError(
                f"{stage}: none of the {len(prompts):,} prompts of {config.writer} is left: {counts['excluded']:g} are "
                f"held out (seeds.exclude) and {counts['duplicate']:g} were taken before. Give more prompts, or let a "
                "model write them (prompts.writer)."
            )
    reporter.advanced(int(counts["prompts"]))
    return counts


def _source(writer: str, name: str) -> str:
    """What a prompt says of where it is from; names of data sets and ids may hold a ``#`` themselves."""
    return f"{writer}#{name}"


def _text(prompt: Prompt) -> str:
    return render_conversation(prompt.messages)


# --- with answers


def needed(config: RunConfig) -> bool:
    """Whether a run's method needs the answers that come with prompts."""
    return config.pairs.chosen_from == "human" or config.rewards in ("human", "verifiable")


def load_examples(source: str) -> list[Example]:
    """The prompts of a file with their answers, in its order.

    Raises:
        DataError: it cannot be read, or holds no instructions with answers; names the line.
    """
    return [r for r in importing.load(source, "ift").records if isinstance(r, Example)]


def asked(examples: Iterable[Example]) -> list[Prompt]:
    """The prompts of examples."""
    return [Prompt(id=e.id, messages=e.prompt, source=e.source) for e in examples]


def answers_to(prompts: Sequence[Prompt], examples: Iterable[Example], writer: str) -> list[Completion]:
    """The answers that came with prompts that ``take_prompts`` took of these examples.

    Args:
        writer: as ``prompts.writer`` names their file.
    """
    known = {_source(writer, e.id): e.completion[-1].content for e in examples}
    return [
        Completion(
            prompt_id=prompt.id,
            index=0,
            text=known[prompt.source],
            n_tokens=0,
            finish_reason="stop",
            seed=0,
        )
        for prompt in prompts
    ]
