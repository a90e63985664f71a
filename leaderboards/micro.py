"""The thin benchmark of answers on the embedded micro-world, judged by its exact oracle (the stand-in for GPT-4).

``micro-quality@1`` scores one checkpoint on prompts no choice was made on. What other benchmarks do on the micro-world
is in their rooms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from leaderboards.base import SETTLED, Outcome, Plan, Setting, Subject, answers, row
from leaderboards.descriptions import described
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.micro import data_path, oracle, world
from selfreward_bench.models.bounds import generating
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import Completion, Prompt, SampleScore

__all__ = ["ORACLE", "MicroQuality", "quality_rows", "test_prompts"]

ORACLE: Final = "micro-oracle@1 (exact grader of the embedded world, stand-in for GPT-4)"
GRADES: Final = range(6)
_NOT_ASKED_AGAIN: Final = SETTLED | {"truncated", "unknown_task"}


def test_prompts(config: RunConfig) -> list[Prompt]:
    """The embedded prompts of ``eval.split``, the first ``eval.limit`` of them."""
    return jsonl.read(data_path(config.eval.split), Prompt, unique=lambda p: p.id)[: config.eval.limit]


class MicroQuality:
    """True quality 0..5 of sampled and greedy answers, with what goes with it: perfect answers, lengths, truncation."""

    key: ClassVar = "micro-quality@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = False
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config = setting.config
        asked = config.eval.model_dump(include={"split", "samples", "sampling", "limit"})
        return {"seed": config.seed, "eval": asked, "prompts": hash_file(data_path(config.eval.split))}

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``."""
        prompts = test_prompts(setting.config)
        return Plan(generating([*_sampled(setting.config, prompts), *_greedy(setting.config, prompts)]))

    def recognise(self, path: Path) -> None:
        """There are no finished files of this benchmark."""

    def run(self, subject: Subject) -> Outcome:
        """Answers in ``answers.jsonl`` (sampled) and ``greedy.jsonl``."""
        prompts = test_prompts(subject.config)
        samples = subject.config.eval.samples
        sampled, greedy = _sampled(subject.config, prompts), _greedy(subject.config, prompts)
        made = answers(subject, "answers.jsonl", sampled)
        rows = quality_rows(prompts, made, "sampled", samples, subject.engine.failures)
        made = answers(subject, "greedy.jsonl", greedy)
        rows += quality_rows(prompts, made, "greedy", 1, subject.engine.failures)
        incomplete = sum(r.value is None and r.reason not in _NOT_ASKED_AGAIN for r in rows)
        identity = self.identity(subject.setting)
        comparability = {
            "parameters": hash_json({k: v for k, v in identity.items() if k not in ("seed", "prompts")}),
            "data": str(identity["prompts"]),
        }
        return Outcome(rows, ORACLE, comparability=comparability, incomplete=incomplete)


def _sampled(config: RunConfig, prompts: Sequence[Prompt]) -> list[GenerationRequest]:
    samples, sampling = config.eval.samples, config.eval.sampling
    return [
        GenerationRequest(
            id=p.id,
            prompt=p.messages,
            n=samples,
            seeds=tuple(derive_seed(config.seed, "eval/micro-quality", p.id, k) for k in range(samples)),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
        )
        for p in prompts
    ]


def _greedy(config: RunConfig, prompts: Sequence[Prompt]) -> list[GenerationRequest]:
    new = config.eval.sampling.max_new_tokens
    return [GenerationRequest(id=p.id, prompt=p.messages, temperature=0, max_new_tokens=new) for p in prompts]


def quality_rows(
    prompts: Sequence[Prompt],
    completions: Iterable[Completion],
    decoding: str,
    samples: int,
    failures: Mapping[str, str] | None = None,
) -> list[SampleScore]:
    """One row per expected sample; answers are found by id, wherever they stand.

    Args:
        failures: prompt id -> why it has no answer.
    """
    by_id, why = {c.id: c for c in completions}, failures or {}
    return [
        _quality_row(p, decoding, k, by_id.get(f"{p.id}/{k}"), why.get(p.id, "no_answer"))
        for p in prompts
        for k in range(samples)
    ]


def _quality_row(prompt: Prompt, decoding: str, index: int, answer: Completion | None, lost: str) -> SampleScore:
    """Cut answers are not scored; ``uncut_quality`` grades them as they stand: leaving them out hides nothing."""
    as_it_stands = None if answer is None else oracle.score(prompt.text, answer.text)
    cut = None if answer is None else answer.finish_reason == "length"
    grade = None if cut else as_it_stands
    reason = lost if answer is None else "truncated" if cut else None if grade is not None else "unknown_task"
    numbers: dict[str, float | None] = {
        "quality": grade,
        "exact": None if grade is None else float(grade == GRADES[-1]),
        "uncut_quality": as_it_stands,
        "chars": None if answer is None else len(answer.text),
        "truncated": None if cut is None else float(cut),
    }
    named = {f"{name}_{decoding}": value for name, value in numbers.items()}
    named[f"quality_{decoding}/{_family(prompt)}"] = grade
    named |= {f"grade_{decoding}/{g}": None if grade is None else float(grade == g) for g in GRADES}
    return row(f"{decoding}/{prompt.id}/{index}", prompt.id, named, reason=reason, prompt=prompt.text)


def _family(prompt: Prompt) -> str:
    task = world.parse(prompt.text)
    return task.family if task else prompt.category or "unknown"
