"""Health of a run, from its stored files alone: no model is asked. Written to ``RUN/health.json``.

Quality can rise while something else breaks: answers grow, judges saturate, texts become alike. This module measures
that, per checkpoint and per iteration, and says where a stated threshold is crossed (``records.THRESHOLDS``).
It decides nothing: no run is stopped, no result left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leaderboards import chain, standings
from leaderboards.descriptions import family
from leaderboards.health.collected import Notes, drawn, records
from leaderboards.health.iteration import measure_iteration, quantiles
from leaderboards.health.records import HEALTH, Health, Reading
from leaderboards.health.seen import seed_prompts, seen
from leaderboards.health.text import distinct, is_loop, self_bleu
from leaderboards.health.thresholds import Growth, other_prompts, warnings
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import SrbenchError
from selfreward_bench.judges.prompts import JudgePrompt, load_judge_prompt
from selfreward_bench.micro import oracle
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.text import words
from selfreward_bench.types import Completion, EvalResult, Metric

__all__ = ["measure", "write_health"]

TEXTS: Final = 300  # answers that diversity is measured on, one per prompt
ANSWERS: Final = "answers.jsonl"
_TEXTS: Final = (ANSWERS, "turn-1.jsonl", "turn-2.jsonl")  # what benchmarks keep answers in
#: metric -> of which benchmarks it is the length of the answers that were judged
_JUDGED: Final = {"avg_length": ("alpaca-eval",), "chars": ("mt-bench", "ifeval")}

#: whose answers are measured where several benchmarks have as many checkpoints
_PREFERRED: Final = ("micro-quality@1", "alpaca-eval@1", "micro-alpaca-eval@1", "head-to-head", "head-to-head@1")

#: metric of a judge-accuracy benchmark -> measure
_JUDGE_METRICS: Final = {
    "top_share": "top_share",
    "own_top_share": "own_top_share",
    "self_agreement": "self_agreement",
    "parse_failures": "judge_failures",
    "length_spearman": "length_correlation",
    "consistency": "consistency",
}


def write_health(run_path: Path) -> Health:
    """Measures a run and writes its ``health.json``.

    Raises:
        DataError: the operating system refuses to write.
    """
    health = measure(run_path)
    standings.write_record(run_path / HEALTH, health)
    return health


def measure(run_path: Path) -> Health:
    """Everything that is watched of a run, or of evaluations in a run's layout.

    What cannot be read is in ``notes``; a run without anything to measure gives empty records.
    """
    notes: Notes = []
    signs = (path for sign in ("*/eval", "*/completions.jsonl") for path in run_path.glob(sign))
    there = {p.parent.name for p in signs if not p.parent.name.startswith(".")}
    names = chain.model_order(there, chain.given_order(run_path))
    results = {name: list(_results(run_path / name, notes)) for name in names}
    source = _common_source(run_path, names)
    answers = {name: a for name in names if (a := _Answers.read(run_path / name, source, results[name], notes))}
    config = _config(run_path, notes)
    judge = _judge(config, notes)
    truth = oracle.score if config and config.base == "micro" else None
    scale = judge.scale if judge and config else None
    iterations = [found for name in names if (found := measure_iteration(run_path / name, scale, notes, truth))]
    readings = [
        *(r for a in answers.values() for r in a.readings()),
        *(r for name in names for result in results[name] for r in _of_result(name, result)),
        *(r for name in names for result in results[name] for r in _verdicts(run_path / name, result, judge, notes)),
        *_of_tournament(run_path, notes),
        *_of_seeds(run_path, {name: made for name, made in results.items() if name != chain.BASE}, notes),
        *(r for _, found in iterations for r in found),
    ]
    growth = Growth.of(names, _prompts(answers, results))
    notes += other_prompts(growth, source)
    return Health(
        fingerprints={name: a.fingerprint for name, a in answers.items()},
        answers_from=source,
        readings=tuple(readings),
        iterations=tuple(told for told, _ in iterations),
        warnings=tuple(warnings(readings, growth)),
        notes=tuple(dict.fromkeys(notes)),
    )


def _config(run_path: Path, notes: Notes) -> RunConfig | None:
    """The run's settings; None without a run, or where they cannot be read."""
    if not (run_path / "srbench.yaml").is_file():
        return None
    try:
        return RunDir.open(run_path).config
    except SrbenchError as error:
        notes.append(str(error))
        return None


def _judge(config: RunConfig | None, notes: Notes) -> JudgePrompt | None:
    """The run's judge prompt, or outside a run the usual one; None where it is not to be had."""
    try:
        return load_judge_prompt((config or RunConfig()).judge.prompt)
    except SrbenchError as error:
        notes.append(f"The judge's scale is not known, so no score is called a top grade: {error}")
        return None


# --- answers


def _results(folder: Path, notes: Notes) -> Iterator[EvalResult]:
    for path in sorted((folder / "eval").glob(f"*/{standings.RESULT}")):
        try:
            yield standings.read_result(path)
        except SrbenchError as error:
            notes.append(str(error))


def _common_source(run_path: Path, names: Sequence[str]) -> str:
    """The benchmark whose answers most checkpoints have, so that all are measured on the same prompts; or none."""
    found = [p.parent.name for name in names for p in (run_path / name / "eval").glob(f"*/{ANSWERS}")]
    order = {name: i for i, name in enumerate(_PREFERRED)}
    return min(found, key=lambda s: (-found.count(s), order.get(s, len(order)), s), default="")


@dataclass
class _Answers:
    """One checkpoint's stored answers to one benchmark.

    Attributes:
        prompts: hash of the ids of the prompts that were answered.
        texts: prompt id -> its first answer.
    """

    model: str
    source: str
    fingerprint: str
    lengths: list[float] = field(default_factory=list)
    truncated: int = 0
    loops: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, source: str, results: Iterable[EvalResult], notes: Notes) -> _Answers | None:
        path = folder / "eval" / source / ANSWERS
        if not source or not path.is_file():
            return None
        fingerprint = next((r.fingerprint for r in results if r.benchmark == source), "")
        found = cls(folder.name, source, fingerprint)
        for completion in records(path, Completion, notes):
            found.lengths.append(len(completion.text))
            found.truncated += completion.finish_reason == "length"
            found.loops += is_loop(completion.text)
            if completion.index == 0:
                found.texts[completion.prompt_id] = completion.text
        return found if found.lengths else None

    @property
    def prompts(self) -> int:
        total = 0
        for name in self.texts:
            total ^= zlib.crc32(name.encode()) * 0x9E3779B97F4A7C15 % 2**64
        return total

    def readings(self) -> Iterator[Reading]:
        """Lengths and shares over all answers; diversity over one per prompt."""
        n = len(self.lengths)
        chars = quantiles(self.lengths)
        sample = [words(self.texts[name]) for name in drawn(self.texts, TEXTS)]
        yield self._reading("chars", chars.mean if chars else None, n)
        yield self._reading("chars_p10", chars.p10 if chars else None, n)
        yield self._reading("chars_p90", chars.p90 if chars else None, n)
        yield self._reading("distinct_1", distinct(sample, 1), len(sample))
        yield self._reading("distinct_2", distinct(sample, 2), len(sample))
        yield self._reading("self_bleu", self_bleu(sample), len(sample))
        yield self._reading("repetition", self.loops / n, n)
        yield self._reading("truncation", self.truncated / n, n)

    def _reading(self, measure: str, value: float | None, n: int) -> Reading:
        total = len(self.texts) if measure in ("distinct_1", "distinct_2", "self_bleu") else n
        reason = "too few answers with words" if value is None else None
        return Reading(
            measure=measure, model=self.model, source=self.source, value=value, n=n, n_total=total, reason=reason
        )


# --- what evaluations measured already


def _of_result(model: str, result: EvalResult) -> Iterator[Reading]:
    name = result.benchmark
    if "judge-accuracy" in name:
        for metric, measure in _JUDGE_METRICS.items():
            if metric in result.metrics:
                yield _copied(measure, model, name, result.metrics[metric])
    if "order_agreement" in result.metrics:
        yield _copied("evaluator_consistency", model, name, result.metrics["order_agreement"])
    if "quotes_judge_prompt" in result.metrics:
        yield _copied("quotes_judge", model, name, result.metrics["quotes_judge_prompt"])
    for metric, families in _JUDGED.items():
        if metric in result.metrics and family(name) in families:
            yield _copied("judged_chars", model, name, result.metrics[metric])
    raw, controlled = (result.metrics.get(m) for m in ("win_rate", "length_controlled_winrate"))
    if raw and controlled and raw.value is not None and controlled.value is not None:
        yield _copied(
            "raw_minus_lc",
            model,
            name,
            Metric(**{**raw.model_dump(), "value": raw.value - controlled.value}),
            bare=True,
        )


def _verdicts(folder: Path, result: EvalResult, judge: JudgePrompt | None, notes: Notes) -> Iterator[Reading]:
    """How many of a benchmark's answers hold a verdict in the judge's form."""
    files = [path for name in _TEXTS if (path := folder / "eval" / result.benchmark / name).is_file()]
    if judge is None or not files or "judge-accuracy" in result.benchmark:
        return
    held = [judge.read(c.text, False).score is not None for path in files for c in records(path, Completion, notes)]
    if held:
        yield Reading(
            measure="verdict_answers",
            model=folder.name,
            source=result.benchmark,
            value=sum(held) / len(held),
            n=len(held),
            n_total=len(held),
        )


def _copied(measure: str, model: str, source: str, metric: Metric, *, bare: bool = False) -> Reading:
    return Reading(
        measure=measure,
        model=model,
        source=source,
        value=metric.value,
        low=None if bare else metric.low,
        high=None if bare else metric.high,
        n=metric.n_scored,
        n_total=metric.n_total,
        reason="nothing was scored" if metric.value is None else None,
    )


def _of_seeds(run_path: Path, results: Mapping[str, Sequence[EvalResult]], notes: Notes) -> Iterator[Reading]:
    """Where a benchmark asks what the run was trained on; nothing where it does not."""
    try:
        trained = seed_prompts(run_path)
    except SrbenchError as error:
        notes.append(f"Whether a benchmark asks what the run was trained on is not known: {error}")
        return
    for model, made in results.items():
        for result in made:
            both, n = seen(run_path / model / "eval" / result.benchmark, trained)
            if both:
                yield Reading(
                    measure="trained_on", model=model, source=result.benchmark, value=both / n, n=n, n_total=n
                )


def _of_tournament(run_path: Path, notes: Notes) -> Iterator[Reading]:
    """Whether the evaluating judge's verdicts on a checkpoint survive the swap, over all its opponents."""
    folder = run_path / standings.MATCHES
    if not (folder / standings.TOURNAMENT).is_file():
        return
    try:
        tournament = standings.read_tournament(folder)
    except SrbenchError as error:
        notes.append(str(error))
        return
    for model in tournament.checkpoints:
        held = [p.positions for p in tournament.pairs if model in (p.a, p.b) and p.positions]
        both = [p for p in held if p.consistency is not None and p.n_both]
        n = sum(p.n_both for p in both)
        if n:
            agreed = sum((p.consistency or 0.0) * p.n_both for p in both)
            yield Reading(
                measure="evaluator_consistency",
                model=model,
                source=tournament.benchmark,
                value=agreed / n,
                n=n,
                n_total=n,
            )


def _prompts(
    answers: Mapping[str, _Answers], results: Mapping[str, Sequence[EvalResult]]
) -> dict[str, dict[str, object]]:
    """What each checkpoint was asked: the ids it answered, or of a benchmark's result its data and their number."""
    found: dict[str, dict[str, object]] = {}
    for name, made in results.items():
        for result in made:
            of = max((m.n_total for m in result.metrics.values()), default=0)
            found.setdefault(result.benchmark, {})[name] = (result.comparability.get("data", ""), of)
    for source in {read.source for read in answers.values()}:
        found[source] = {name: read.prompts for name, read in answers.items() if read.source == source}
    return found
