"""AlpacaEval on the embedded world: against a human's answer, as the world has them, and the oracle's grades decide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final

from leaderboards.alpaca_eval.benchmark import STAGE, answer_prompts, answer_requests
from leaderboards.alpaca_eval.finished import Given
from leaderboards.alpaca_eval.scores import LengthModel, Pair, score
from leaderboards.base import Outcome, Plan, Setting, Subject
from leaderboards.descriptions import described
from leaderboards.micro import ORACLE, test_prompts
from selfreward_bench.config import RunConfig
from selfreward_bench.judges.pointwise import sampling_key
from selfreward_bench.micro import oracle, world
from selfreward_bench.models.bounds import generating
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Prompt

__all__ = ["MicroAlpacaEval", "micro_reference"]

_STAGE: Final = f"{STAGE}/micro"


class MicroAlpacaEval:
    """The same on the embedded world: one answer per prompt, the higher of two exact grades wins."""

    key: ClassVar = "micro-alpaca-eval@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = False
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config = setting.config
        return {"seed": config.seed, "answering": config.eval.answering, **_micro_hashes(test_prompts(config))}

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``. Tokens are bounded by bytes."""
        prompts = {p.id: p.messages for p in test_prompts(setting.config)}
        return Plan(generating(answer_requests(setting.config, prompts, _STAGE)))

    def recognise(self, path: Path) -> None:
        """There are no finished files of this benchmark."""

    def run(self, subject: Subject) -> Outcome:
        """Answers in ``answers.jsonl``."""
        config: RunConfig = subject.config
        prompts = test_prompts(config)
        given = answer_prompts(subject, {p.id: p.messages for p in prompts}, _STAGE)
        lengths = LengthModel()
        scores = score([_micro_pair(p, given[p.id]) for p in prompts], lengths)
        comparability = {
            "judge": ORACLE,
            "parameters": f"answers {sampling_key(config.eval.answering)}",
            "order": "none",
            **_micro_hashes(prompts),
            "length_control": lengths.formula,
        }
        failed = sum(given[p.id].failed for p in prompts)
        return Outcome(scores.rows, ORACLE, scores.metrics, comparability, failed, scores.replicates)


@lru_cache(maxsize=4096)
def micro_reference(prompt: Prompt) -> str | None:
    """The fixed reference answer, as some human gave it; None when the world knows no such task."""
    task = world.parse(prompt.text)
    seed = derive_seed("micro-alpaca-eval/reference", prompt.id)
    return None if task is None else world.human_answer(task, random.Random(seed))


def _micro_hashes(prompts: Sequence[Prompt]) -> dict[str, str]:
    return {
        "data": hash_json([[p.id, p.text] for p in prompts]),
        "reference": hash_json([micro_reference(p) for p in prompts]),
    }


def _micro_pair(prompt: Prompt, given: Given) -> Pair:
    reference = micro_reference(prompt)
    win, reason, detail = None, given.reason, {}
    if given.text is not None:
        grade, other = oracle.score(prompt.text, given.text), oracle.score(prompt.text, reference or "")
        if grade is None or other is None:
            reason = "unknown_task"
        else:
            win, detail = (grade > other) + (grade == other) / 2, {"grade": grade, "reference_grade": other}
    return Pair(
        id=prompt.id,
        category=prompt.category or "unknown",
        instruction=prompt.text,
        reference=reference or "",
        answer=given.text,
        win=win,
        reason=reason,
        measures={} if given.cut is None else {"truncated": float(given.cut)},
        detail=detail,
    )
