"""New prompts by self-instruct: a model continues a few examples with a task of its own (arXiv 2212.10560, 2401.10020).

Work goes in rounds. A round's few-shot contexts are drawn from the seed prompts and from what was generated before it,
so a context never grows from call to call. Raw continuations are stored batch by batch; what is accepted is computed
from them by replaying the rounds, so a resumed stage accepts what an undisturbed one does.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from selfreward_bench.config import PromptsConfig
from selfreward_bench.engines.base import Engine, GenerationRequest
from selfreward_bench.engines.thinking import split_thinking
from selfreward_bench.errors import DataError
from selfreward_bench.judges.prompts import render_conversation
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.text import count_words
from selfreward_bench.types import Completion, Message, Prompt
from trainers.candidates import generate_missing, refuse_strangers
from trainers.filters import Seen, fault, speaks_to_user

__all__ = ["LOSSES", "Selection", "examples_of", "read_task", "round_requests", "write_prompts"]

#: why a continuation is no new prompt, in the order the reasons are looked for; ``no_room``: the examples with it
#: exceed the writer's context; ``refused``: by a served one's filter; ``surplus``: enough were there already
LOSSES: Final = (
    "no_room",
    "refused",
    "truncated",
    "empty",
    "malformed",
    "no_task",
    "too_short",
    "too_long",
    "keyword",
    "excluded",
    "duplicate",
    "similar",
    "surplus",
)

_ROUND_MIN, _ROUND_MAX = 32, 512  # continuations of one round
_SPARE: Final = 1.1  # a round asks for so much more than the yield so far calls for
_LOWEST_YIELD: Final = 0.05


def write_prompts(
    engine: Engine,
    config: PromptsConfig,
    *,
    raw_path: Path,
    path: Path,
    seed_prompts: Sequence[Prompt],
    pool: Sequence[Prompt],
    excluded: Sequence[Prompt],
    run_seed: int,
    stage: str,
    reporter: Reporter,
) -> dict[str, float]:
    """Writes up to ``config.count`` new prompts; continuations that ``raw_path`` holds are not made again.

    Args:
        raw_path: every continuation as a Completion record; appended.
        path: the accepted prompts; written whole, at the end. Ids are like ``M2-p0001``.
        seed_prompts: human-written prompts, the source of examples; never returned as new.
        pool: prompts generated in earlier iterations; a source of examples, never returned as new.
        excluded: held-out prompts; neither they nor similar ones are accepted.
        stage: such as ``M2/prompts``.

    Returns:
        ``prompts`` (may be fewer than asked for: after ``count * max_attempts_factor`` continuations it ends),
        ``asked``, ``rounds``, ``continuations``, ``tokens``, and each of ``LOSSES``.

    Raises:
        DataError: there are no seed prompts, or none of the continuations can be used.
    """
    if not seed_prompts:
        raise DataError("There are no seed prompts to show as examples. Give IFT seed data (seeds.ift).")
    reporter.started(stage, config.count, "prompts")
    stored = {c.id: c for c in jsonl.resume(raw_path, Completion, unique=lambda c: c.id)}
    selection = Selection(config, chain(seed_prompts, pool), excluded)
    earlier = [prompt.text for prompt in pool]
    requests: list[GenerationRequest] = []
    rounds = 0
    while n_contexts := selection.n_contexts():
        generated = earlier + selection.accepted
        asked = round_requests(
            config, n_contexts, rounds, examples_of(seed_prompts, config), generated, run_seed=run_seed, stage=stage
        )
        before = len(selection.accepted)
        selection.consider(generate_missing(engine, asked, raw_path, stored), sum(r.n for r in asked))
        reporter.advanced(len(selection.accepted) - before)
        requests += asked
        rounds += 1
    refuse_strangers(raw_path, stored, requests)
    counts = {"prompts": len(selection.accepted), "asked": config.count, "rounds": rounds, **selection.counts()}
    if not selection.accepted:
        raise DataError(_nothing_new(raw_path, counts))
    jsonl.write(path, _records(selection.accepted, stage))
    return counts


class Selection:
    """Which continuations become prompts: depends on the continuations considered so far, in their order, alone.

    Attributes:
        accepted: texts, at most ``config.count``.
    """

    def __init__(self, config: PromptsConfig, seen: Iterable[Prompt], excluded: Iterable[Prompt]) -> None:
        self.accepted: list[str] = []
        self._config = config
        self._seen = Seen((render_conversation(p.messages) for p in seen), config.max_rouge_l)
        self._excluded = Seen((render_conversation(p.messages) for p in excluded), config.max_rouge_l)
        self._lost: Counter[str] = Counter()
        self._considered = self._tokens = 0

    def consider(self, continuations: Sequence[Completion], asked: int) -> None:
        """Accepts or counts each continuation; of those asked for, the ones that had no room are missing."""
        self._considered += asked
        self._lost["no_room"] += asked - len(continuations)
        for continuation in continuations:
            self._tokens += continuation.n_tokens
            text = read_task(continuation.text, self._config.format)
            cut = {"length": "truncated", "refused": "refused"}.get(continuation.finish_reason)
            loss = cut or self._loss(text)
            if loss:
                self._lost[loss] += 1
            else:
                self.accepted.append(text)
                self._seen.add(text)

    def n_contexts(self) -> int:
        """How many contexts the next round needs; 0 when it is enough, or when giving up."""
        config = self._config
        missing = config.count - len(self.accepted)
        budget = config.count * config.max_attempts_factor - self._considered
        if missing <= 0 or (self._considered and budget < config.samples_per_context):
            return 0
        rate = max(len(self.accepted) / self._considered, _LOWEST_YIELD) if self._considered else 1.0
        wanted = min(max(math.ceil(missing / rate * _SPARE), _ROUND_MIN), _ROUND_MAX, budget)
        return max(1, min(math.ceil(wanted / config.samples_per_context), budget // config.samples_per_context))

    def counts(self) -> dict[str, float]:
        """``continuations``, ``tokens`` and each of ``LOSSES``; accepted and lost add up to the continuations."""
        return {
            "continuations": self._considered,
            "tokens": self._tokens,
            **{reason: self._lost[reason] for reason in LOSSES},
        }

    def _loss(self, text: str) -> str | None:
        reason = fault(text, self._config)
        if reason:
            return reason
        if self._excluded.has(text) or self._excluded.has_similar(text):
            return "excluded"
        if self._seen.has(text):
            return "duplicate"
        if self._seen.has_similar(text):
            return "similar"
        return "surplus" if len(self.accepted) >= self._config.count else None


def round_requests(
    config: PromptsConfig,
    n_contexts: int,
    number: int,
    seeds: Sequence[str],
    generated: Sequence[str],
    *,
    run_seed: int,
    stage: str,
) -> list[GenerationRequest]:
    """The requests of one round: each shows a fresh draw of examples.

    Args:
        number: the round's, from 0; part of the requests' ids and seeds.
        seeds: human-written tasks.
        generated: tasks generated before this round; seeds take the place of those that are missing.
    """
    n_generated = min(config.generated_shots, len(generated))
    n_seeds = min(config.seed_shots + config.generated_shots - n_generated, len(seeds))
    requests = []
    for i in range(n_contexts):
        name = f"{stage}/r{number}/c{i}"
        rng = random.Random(derive_seed(run_seed, name, "shots"))
        shots = rng.sample(seeds, n_seeds) + rng.sample(generated, n_generated)
        rng.shuffle(shots)
        requests.append(
            GenerationRequest(
                id=name,
                prompt=_document(shots) if config.format == "document" else _chat(shots),
                seeds=tuple(derive_seed(run_seed, name, k) for k in range(config.samples_per_context)),
                n=config.samples_per_context,
                temperature=config.sampling.temperature,
                top_p=config.sampling.top_p,
                max_new_tokens=config.sampling.max_new_tokens,
                stop=("\n",) if config.format == "document" else (),
            )
        )
    return requests


def read_task(text: str, format: str) -> str:
    """The task in a continuation.

    ``document``: the rest of the line. ``chat``: the reply without what chat models put around a task.

    >>> read_task('Sure! Here is a new task:\\n\\n9. **Task:** "Name a red food."\\n10. Name a bird.', "chat")
    'Name a red food.'
    """
    if format == "document":
        return " ".join(text.split())
    task = _PREAMBLE.sub("", split_thinking(text).answer.strip(), count=1).strip()
    numbered = _NUMBER.match(task)
    if numbered:  # a list that goes on: the first new task counts
        following = re.search(rf"^\W{{0,3}}{int(numbered[1]) + 1}[.)]\s", task, re.MULTILINE)
        task = task[: following.start()] if following else task
    task = _LABEL.sub("", _NUMBER.sub("", task, count=1), count=1)
    return _unquoted(_without_farewell(_ANSWER.split(task, maxsplit=1)[0].strip()))


_PREAMBLE: Final = re.compile(
    r"\A(?:sure|certainly|of course|okay|ok|absolutely|great|here)\b[^\n]{0,150}:[ \t]*\n"
    r"|\A[*_#\s]{0,5}(?:(?:sure|certainly|of course|okay|ok|absolutely|great)(?: thing)?[,.!] )?"
    r"(?:here(?:'s|\u2019s| is)|this is) "
    r"(?:an?|one|another|the) (?:\w+ ){0,2}(?:task|prompt|instruction)\b[^\n:.]{0,60}:[*_]{0,3}[ \t]*",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\A\W{0,3}([0-9]{1,4})[.)]\s+")
_LABEL: Final = re.compile(
    r"\A[*_#\s]{0,5}(?:new\s)?(?:task|instruction|prompt|request) ?[0-9]{0,4} ?[*_]{0,3} ?:[*_]{0,3}\s*", re.IGNORECASE
)
_ANSWER: Final = re.compile(
    r"^[*_#\s]{0,5}(?:answer|response|solution|assistant)[*_\s]{0,3}:", re.IGNORECASE | re.MULTILINE
)
_QUOTES: Final = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("**", "**"), ("```", "```"), ("`", "`"))


def _without_farewell(task: str) -> str:
    """Without what is said to the user behind the task, in paragraphs of its own."""
    paragraphs = task.split("\n\n")
    while len(paragraphs) > 1 and speaks_to_user(paragraphs[-1]):
        paragraphs.pop()
    return "\n\n".join(paragraphs).strip()


def _unquoted(text: str) -> str:
    for left, right in _QUOTES:
        inner = text[len(left) : -len(right)]
        if text.startswith(left) and text.endswith(right) and inner and left not in inner and right not in inner:
            return inner.strip()
    return text


def _document(shots: Sequence[str]) -> str:
    return "".join(f"Task: {shot}\n" for shot in shots) + "Task:"


def _chat(shots: Sequence[str]) -> tuple[Message, ...]:
    listing = "\n".join(f"{number}. {shot}" for number, shot in enumerate(shots, 1))
    content = (
        f"Here are {len(shots)} tasks that different people gave to an assistant that reads and writes text only:\n\n"
        f"{listing}\n\n"
        "Write one more task that a person might give to this assistant. It should differ from the ones above in "
        "subject and in kind, and hold everything that is needed to work on it. Reply with the text of the task and "
        "nothing else: no number, no heading, no answer."
    )
    return (Message(role="user", content=content),)


def examples_of(seed_prompts: Sequence[Prompt], config: PromptsConfig) -> list[str]:
    """Seed tasks fit to be shown: one turn, not longer than a new task may be; any, where none is."""
    texts = [" ".join(p.text.split()) for p in seed_prompts if sum(m.role == "user" for m in p.messages) == 1]
    fitting = [text for text in texts if count_words(text) <= config.max_words]
    return fitting or [" ".join(p.text.split()) for p in seed_prompts]


def _records(texts: Sequence[str], stage: str) -> list[Prompt]:
    model = stage.partition("/")[0]
    return [
        Prompt(id=f"{model}-p{number:04d}", messages=(Message(role="user", content=text),), source=stage)
        for number, text in enumerate(texts, 1)
    ]


def _nothing_new(raw_path: Path, counts: dict[str, float]) -> str:
    lost = ", ".join(f"{reason} {counts[reason]:g}" for reason in LOSSES if counts[reason])
    return (
        f"None of {counts['continuations']:g} continuations is a new prompt ({lost}). Look at {raw_path}. "
        "Many truncated: raise prompts.sampling.max_new_tokens. No room: lower it or prompts.seed_shots. Duplicate or "
        "similar: raise prompts.sampling.temperature or prompts.max_rouge_l. Malformed, no task or short: the writer "
        "does not suit prompts.format (document for a base model, chat for a chat model) or prompts.min_words."
    )
