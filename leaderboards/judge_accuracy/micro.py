"""``micro-judge-accuracy@1``: how well a checkpoint judges, asked the way its run asks it for rewards.

Its judgments are held against human ranks and against the oracle on the same fixed answers, and against the oracle on
answers of its own, which is what it has to rank in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from leaderboards.base import SETTLED, Outcome, Plan, Setting, Subject, answers, judgments, row
from leaderboards.descriptions import described
from leaderboards.judge_accuracy.agreement import agreement_rows
from leaderboards.judge_accuracy.benchmark import judge_settings
from leaderboards.judge_accuracy.health import Judged, collect, nearest_grade
from leaderboards.judge_accuracy.pointwise import ranked_items, ranked_outcome
from leaderboards.micro import test_prompts
from leaderboards.pooled import pooled_spearman
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.micro import data_path, oracle, rankings_name
from selfreward_bench.models.bounds import generating, grading, total
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import Completion, Metric, Prompt, RankedPrompt, SampleScore

__all__ = ["MicroJudgeAccuracy"]

OWN_PROMPTS: Final = 160
OWN_SAMPLES: Final = 4


class MicroJudgeAccuracy:
    """Agreement of a checkpoint's judgments with human ranks and with the oracle."""

    key: ClassVar = "micro-judge-accuracy@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = False
    measures_judge: ClassVar = True
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config = setting.config
        return {
            "seed": config.seed,
            "judge": judge_settings(config),
            "judge_prompt": load_judge_prompt(config.judge.prompt).key,
            "own": [OWN_PROMPTS, OWN_SAMPLES, config.eval.sampling.max_new_tokens],
            "limit": config.eval.limit,
            "prompts": hash_file(data_path(config.eval.split)),
            "rankings": hash_file(data_path(rankings_name(config.eval.split))),
        }

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``."""
        config = setting.config
        prompts, new = test_prompts(config)[:OWN_PROMPTS], config.eval.sampling.max_new_tokens
        fixed = grading(config.judge, ranked_items(_rankings(config)))
        to_come = [JudgeItem(p.id, k, p.messages, "") for p in prompts for k in range(OWN_SAMPLES)]
        own = grading(config.judge, to_come, unwritten=new)
        return Plan(generating(_own_requests(config, prompts)), total([fixed, own]))

    def recognise(self, path: Path) -> None:
        """There are no finished files of this benchmark."""

    def run(self, subject: Subject) -> Outcome:
        """Judgments in ``judgments.jsonl``; own answers in ``own-answers.jsonl``, judged in ``own-judgments.jsonl``."""
        ranked, prompts = _rankings(subject.config), test_prompts(subject.config)[:OWN_PROMPTS]
        judge = _judge(subject, "eval/judge-accuracy")
        items = ranked_items(ranked)
        judged = collect(items, judgments(subject, "judgments.jsonl", judge, items), subject.engine.failures)
        own = _own_answers(subject, prompts)
        own_judge, own_items = _judge(subject, "eval/judge-accuracy/own"), _own_items(prompts, own)
        own_made = judgments(subject, "own-judgments.jsonl", own_judge, own_items)
        own_judged = collect(own_items, own_made, subject.engine.failures)
        rows, metrics = ranked_outcome(ranked, judged, judge.prompt)
        own_rows, pooled = _own_rows(prompts, own, own_judged, judge)
        rows += _oracle_rows(ranked, judged) + own_rows
        incomplete = sum(j.reward is None and j.reason not in SETTLED for j in (*judged, *own_judged))
        return Outcome(
            rows,
            judge.key,
            {**metrics, "own_spearman_pooled": pooled},
            comparability=self._comparability(subject.setting),
            incomplete=incomplete,
        )

    def _comparability(self, setting: Setting) -> dict[str, str]:
        identity = self.identity(setting)
        data = ("prompts", "rankings")
        return {
            "prompt": str(identity["judge_prompt"]),
            "parameters": hash_json({k: v for k, v in identity.items() if k not in ("seed", "judge_prompt", *data)}),
            "data": hash_json({k: identity[k] for k in data}),
        }


def _rankings(config: RunConfig) -> list[RankedPrompt]:
    file = data_path(rankings_name(config.eval.split))
    return jsonl.read(file, RankedPrompt, unique=lambda r: r.id)[: config.eval.limit]


def _judge(subject: Subject, stage: str) -> PointwiseJudge:
    """Seeds do not depend on the checkpoint, so that two checkpoints are compared on the same draws."""
    config = subject.config
    return PointwiseJudge.from_config(
        subject.engine, config.judge, run_seed=config.seed, stage=stage, checkpoint=subject.name
    )


def _own_requests(config: RunConfig, prompts: Sequence[Prompt]) -> list[GenerationRequest]:
    return [
        GenerationRequest(
            id=p.id,
            prompt=p.messages,
            n=OWN_SAMPLES,
            seeds=tuple(derive_seed(config.seed, "eval/judge-accuracy/own", p.id, k) for k in range(OWN_SAMPLES)),
            temperature=1.0,
            max_new_tokens=config.eval.sampling.max_new_tokens,
        )
        for p in prompts
    ]


def _own_answers(subject: Subject, prompts: Sequence[Prompt]) -> dict[str, Completion]:
    found = answers(subject, "own-answers.jsonl", _own_requests(subject.config, prompts))
    return {c.id: c for c in found}


def _own_items(prompts: Sequence[Prompt], own: dict[str, Completion]) -> list[JudgeItem]:
    found = ((p, k, own.get(f"{p.id}/{k}")) for p in prompts for k in range(OWN_SAMPLES))
    return [JudgeItem(p.id, k, p.messages, answer.text) for p, k, answer in found if answer is not None]


# --- agreement with the oracle


def _oracle_rows(ranked: Sequence[RankedPrompt], judged: Sequence[Judged]) -> list[SampleScore]:
    scores = {j.item.id: j.score for j in judged}
    rows: list[SampleScore] = []
    for r in ranked:
        prompt = next(m.content for m in reversed(r.messages) if m.role == "user")
        truth = [oracle.score(prompt, response.text) for response in r.responses]
        rows += agreement_rows("oracle_", r.id, [scores.get(f"{r.id}/{i}") for i in range(len(truth))], truth)
    return rows


def _own_rows(
    prompts: Sequence[Prompt], own: Mapping[str, Completion], judged: Sequence[Judged], judge: PointwiseJudge
) -> tuple[list[SampleScore], Metric]:
    scale = judge.prompt.scale
    scores = {j.item.id: j.score for j in judged}
    rows: list[SampleScore] = []
    all_scores: list[float | None] = []
    all_truth: list[float | None] = []
    for p in prompts:
        ids = [f"{p.id}/{k}" for k in range(OWN_SAMPLES)]
        truth, mine = [_truth(p, own.get(i)) for i in ids], [scores.get(i) for i in ids]
        rows += agreement_rows("own_", p.id, mine, truth)
        all_scores += mine
        all_truth += truth
    for j in judged:
        grade = nearest_grade(j.score, scale)
        top = None if grade is None else float(grade == scale.grades[-1])
        numbers = {"own_mean_score": j.score, "own_top_share": top}
        rows.append(row(f"own_response/{j.item.id}", j.item.prompt_id, numbers, reason=j.reason))
    return rows, pooled_spearman(all_scores, all_truth, [p.id for p in prompts for _ in range(OWN_SAMPLES)])


def _truth(prompt: Prompt, answer: Completion | None) -> int | None:
    return None if answer is None or answer.finish_reason == "length" else oracle.score(prompt.text, answer.text)
