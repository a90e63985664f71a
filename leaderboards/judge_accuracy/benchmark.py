"""Any checkpoint as a judge, held against people: Open Assistant's ranks, LLMBar, PandaLM, or a file of ranked answers.

The checkpoint judges with the prompt and mode its run asks it for rewards with (``config.judge``), so the number says
how good those rewards are. One flow serves all data (``data``); each data set is a benchmark of its own, because
numbers of unlike data share no column. Definitions: docs/benchmarks/judge-accuracy.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Final

from leaderboards.base import SETTLED, Outcome, Plan, Setting, Subject, judgments
from leaderboards.descriptions import described
from leaderboards.judge_accuracy import data as judge_data
from leaderboards.judge_accuracy.agreement import cohen_kappa, kappas, label_rows, subset_average
from leaderboards.judge_accuracy.data import JudgeData
from leaderboards.judge_accuracy.health import collect
from leaderboards.judge_accuracy.pairwise import pair_items, pair_judgments, pair_verdicts, pairwise_outcome
from leaderboards.judge_accuracy.pointwise import ranked_items, ranked_outcome, verdicts_by_score
from leaderboards.judge_accuracy.stored import (
    is_llmbar_processed_results,
    is_llmbar_results,
    is_pandalm_results,
    llmbar_results,
    pandalm_results,
    stored_files,
)
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.judges.pairwise import ORDERS, PairwiseJudge, request_id
from selfreward_bench.judges.pointwise import PointwiseJudge
from selfreward_bench.judges.prompts import JudgePrompt, judge_prompt_names, load_judge_prompt
from selfreward_bench.models.bounds import grading, pairing
from selfreward_bench.storage.rundir import hash_file, hash_json
from selfreward_bench.types import Description, Judgment, Metric, RankedPrompt, SampleScore

__all__ = [
    "JsonlJudgeAccuracy",
    "JudgeAccuracy",
    "LLMBarJudgeAccuracy",
    "LLMBarProcessedJudgeAccuracy",
    "OasstJudgeAccuracy",
    "PandaLMJudgeAccuracy",
    "judge_settings",
]

_ADVERSARIAL: Final = ("Neighbor", "GPTInst", "GPTOut", "Manual")


@dataclass(frozen=True)
class _Stored:
    """Others' verdicts that a data set's benchmark can score: how they are recognised, and read."""

    kind: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, JudgeData], list[Judgment]]


class JudgeAccuracy:
    """Agreement of a checkpoint's judgments with people's on one data set.

    A subclass is a data set: its key, its adapter, and the stored verdicts it can score again.
    """

    key: ClassVar[str]
    description: ClassVar[Description]
    needs_judge: ClassVar = False
    local_only: ClassVar = False
    measures_judge: ClassVar = True
    stored: ClassVar[_Stored | None] = None

    def load(self, setting: Setting) -> JudgeData:
        """The data set, whole."""
        raise NotImplementedError

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config = setting.config
        identity: dict[str, object] = {"data": self.load(setting).content_hash, "limit": config.eval.limit}
        if setting.finished is not None:
            return identity | {"finished": [hash_file(f) for f in stored_files(setting.finished.path)]}
        prompt = load_judge_prompt(config.judge.prompt)
        return identity | {"seed": config.seed, "judge": judge_settings(config), "judge_prompt": prompt.key}

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``."""
        if setting.finished is not None:
            return Plan()
        prompts, judge = _limited(self.load(setting), setting), setting.config.judge
        if load_judge_prompt(judge.prompt).kind == "pairwise":
            return Plan(judgments=pairing(judge, pair_items(prompts)))
        return Plan(judgments=grading(judge, ranked_items(prompts)))

    def recognise(self, path: Path) -> str | None:
        """See ``Benchmark``."""
        return self.stored.kind if self.stored is not None and self.stored.recognise(path) else None

    def run(self, subject: Subject) -> Outcome:
        """Judgments in ``judgments.jsonl``, both of pointwise and of pairwise judges."""
        setting = subject.setting
        data = self.load(setting)
        prompts = _limited(data, setting)
        if setting.finished is not None:
            return self._finished(setting.finished.path, data, prompts)
        prompt = load_judge_prompt(setting.config.judge.prompt)
        comparability = {
            "prompt": prompt.key,
            "parameters": hash_json(judge_settings(setting.config)),
            "order": "both" if prompt.kind == "pairwise" else "none",
            "data": data.content_hash,
        }
        how = self._pairwise if prompt.kind == "pairwise" else self._pointwise
        outcome = how(subject, data, prompts, prompt)
        metrics = {**outcome.metrics, **_data_metrics(data, prompts, outcome.rows)}
        return Outcome(outcome.rows, outcome.judge, metrics, comparability, outcome.incomplete)

    def _pointwise(
        self, subject: Subject, data: JudgeData, prompts: Sequence[RankedPrompt], prompt: JudgePrompt
    ) -> Outcome:
        config = subject.config
        judge = PointwiseJudge.from_config(
            subject.engine, config.judge, run_seed=config.seed, stage=self._stage, checkpoint=subject.name
        )
        items = ranked_items(prompts)
        made = judgments(subject, "judgments.jsonl", judge, items)
        judged = collect(items, made, subject.engine.failures)
        rows, metrics = ranked_outcome(prompts, judged, prompt, pairs=data.pairs)
        if data.pairs:
            verdicts = verdicts_by_score(prompts, judged)
            metrics |= kappas(verdicts)
            if data.three_way:
                rows += label_rows(verdicts)
        incomplete = sum(j.reward is None and j.reason not in SETTLED for j in judged)
        return Outcome(rows, judge.key, metrics, incomplete=incomplete)

    def _pairwise(
        self, subject: Subject, data: JudgeData, prompts: Sequence[RankedPrompt], prompt: JudgePrompt
    ) -> Outcome:
        config = subject.config
        if config.judge.mode != "sampled":
            raise ConfigError(
                f"judge.mode {config.judge.mode!r} reads one response's grade, and the judge prompt {prompt.name!r} "
                "compares two. Take judge.mode sampled, or a pointwise prompt."
            )
        judge = PairwiseJudge(subject.engine, prompt, config.judge.sampling, config.seed, self._stage, subject.name)
        items = pair_items(prompts)
        made = pair_judgments(subject, judge, items)
        verdicts = list(pair_verdicts(prompts, made, ORDERS, subject.engine.failures))
        lost = {f"{i.id}/{order}" for i in items for order in ORDERS} - {request_id(j) for j in made}
        incomplete = sum(subject.engine.failures.get(name) not in SETTLED for name in lost)
        rows, metrics = pairwise_outcome(verdicts, made, data)
        return Outcome(rows, judge.key, metrics, incomplete=incomplete)

    def _finished(self, path: Path, data: JudgeData, prompts: Sequence[RankedPrompt]) -> Outcome:
        """Scores what others' judges said; of subsets that the file does not touch nothing is counted as missing."""
        if self.stored is None:
            raise DataError(f"{path}: {self.key} has no layout for others' finished verdicts. Judge anew.")
        made = self.stored.read(path, data)
        by_id = {p.id: p for p in prompts}
        made = [j for j in made if j.prompt_id in by_id]
        touched = {by_id[j.prompt_id].category for j in made}
        wanted = [p for p in prompts if p.category in touched]
        orders = tuple(o for o in ORDERS if any(j.order == o for j in made))
        verdicts = list(pair_verdicts(wanted, made, orders, {}))
        rows, metrics = pairwise_outcome(verdicts, made, data)
        files = [hash_file(f) for f in stored_files(path)]
        judge = f"{self.stored.kind} {path.name}#{hash_json(files)[:8]}"
        comparability = {"judge": judge, "order": "+".join(orders), "data": data.content_hash}
        return Outcome(rows, judge, metrics | _data_metrics(data, wanted, rows), comparability)

    @property
    def _stage(self) -> str:
        return f"eval/{self.key}"


class OasstJudgeAccuracy(JudgeAccuracy):
    """Open Assistant: first turns with two to nine answers that people ranked.

    Args:
        file: the tree export, below the data directory.
    """

    key: ClassVar[str] = "judge-accuracy-oasst@1"
    description: ClassVar = described(key)

    def __init__(self, file: str = "oasst/en_100_tree.jsonl") -> None:
        self._file = file

    def load(self, setting: Setting) -> JudgeData:
        """See ``JudgeAccuracy``."""
        return judge_data.oasst(setting.data, self._file)


class LLMBarJudgeAccuracy(JudgeAccuracy):
    """LLMBar: 419 pairs in which one output follows the instruction and the other does not (Zeng et al. 2023)."""

    key: ClassVar[str] = "judge-accuracy-llmbar@1"
    description: ClassVar = described(key)
    stored: ClassVar = _Stored("llmbar-results", is_llmbar_results, llmbar_results)

    def load(self, setting: Setting) -> JudgeData:
        """See ``JudgeAccuracy``."""
        return judge_data.llmbar(setting.data)


class LLMBarProcessedJudgeAccuracy(JudgeAccuracy):
    """The 266 pairs of FairEval and MT-Bench that LLMBar's authors cleaned."""

    key: ClassVar[str] = "judge-accuracy-llmbar-processed@1"
    description: ClassVar = described(key)
    stored: ClassVar = _Stored("llmbar-results", is_llmbar_processed_results, llmbar_results)

    def load(self, setting: Setting) -> JudgeData:
        """See ``JudgeAccuracy``."""
        return judge_data.llmbar(setting.data, judge_data.LLMBAR_PROCESSED)


class PandaLMJudgeAccuracy(JudgeAccuracy):
    """PandaLM's test set: 999 pairs, the majority of three annotators, ties allowed (Wang et al. 2023)."""

    key: ClassVar[str] = "judge-accuracy-pandalm@1"
    description: ClassVar = described(key)
    stored: ClassVar = _Stored("pandalm-results", is_pandalm_results, pandalm_results)

    def load(self, setting: Setting) -> JudgeData:
        """See ``JudgeAccuracy``."""
        return judge_data.pandalm(setting.data)


class JsonlJudgeAccuracy(JudgeAccuracy):
    """A file of ranked responses of one's own (docs/formats.md)."""

    key: ClassVar[str] = "judge-accuracy-jsonl@1"
    description: ClassVar = described(key)

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, setting: Setting) -> JudgeData:
        """See ``JudgeAccuracy``."""
        return judge_data.ranked_jsonl(self._path)


def judge_settings(config: RunConfig) -> dict[str, Any]:
    """What judgments depend on; a prompt of the user's own counts by its content, wherever its file lies."""
    name = config.judge.prompt
    known = name if name in judge_prompt_names() else load_judge_prompt(name).key
    return config.judge.without_request() | {"prompt": known}


def _limited(data: JudgeData, setting: Setting) -> Sequence[RankedPrompt]:
    return data.prompts[: setting.config.eval.limit]


def _data_metrics(data: JudgeData, prompts: Sequence[RankedPrompt], rows: Sequence[SampleScore]) -> dict[str, Metric]:
    """Unweighted means over subsets, and how well annotators agree with one another: what a judge can hope for."""
    found: dict[str, Metric] = {}
    subsets = tuple(dict.fromkeys(p.category for p in prompts if p.category is not None))
    if len(subsets) > 1:
        found["subset_average"] = subset_average(rows, "pairwise_accuracy", subsets)
    if set(_ADVERSARIAL) < set(subsets):
        found["adversarial_average"] = subset_average(rows, "pairwise_accuracy", _ADVERSARIAL)
    ids = [p.id for p in prompts]
    for (m, a), (n, b) in combinations(enumerate(data.annotators, start=1), 2):
        found[f"annotator_kappa/{m}-{n}"] = cohen_kappa([([a[i] for i in ids], [b[i] for i in ids])], ids)
    return found
