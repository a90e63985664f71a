"""AlpacaEval 2.0: each answer against the reference model's, by a judge; the length-controlled win rate with it.

``alpaca-eval@1`` has the real 805 instructions and any judge, and scores finished outputs and annotations too. Reading
AlpacaEval's files, asking the judge, finished files and the numbers are in ``files``, ``judging``, ``finished`` and
``scores``; the same on the embedded world in ``micro``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

from leaderboards.alpaca_eval import files
from leaderboards.alpaca_eval.annotators import Annotator, load_annotator
from leaderboards.alpaca_eval.files import Annotation, Instruction, ModelOutput
from leaderboards.alpaca_eval.finished import Given, read_given, score_annotations
from leaderboards.alpaca_eval.judging import IN_WORDS, Item, Judged, ask, is_shortened, planned
from leaderboards.alpaca_eval.judging import raw_completion as raw_of
from leaderboards.alpaca_eval.package import package_version
from leaderboards.alpaca_eval.scores import LengthModel, Pair, excerpt, score
from leaderboards.base import SETTLED, Calls, Finished, JudgeRole, Outcome, Plan, Setting, Subject, answers
from leaderboards.descriptions import described
from selfreward_bench.config import RunConfig
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.engines.served.protocol import PREFIX, parse_spec
from selfreward_bench.errors import ConfigError
from selfreward_bench.judges.pointwise import sampling_key
from selfreward_bench.models.bounds import generating
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Completion, Message, Metric

__all__ = ["AlpacaEval", "answer_prompts", "answer_requests"]

STAGE: Final = "eval/alpaca-eval"
_MAKERS: Final = ("api.openai.com",)
_HOSTED: Final = ".openai.azure.com"


class AlpacaEval:
    """AlpacaEval 2.0 on its own data."""

    key: ClassVar = "alpaca-eval@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = True
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config, finished = setting.config, setting.finished
        found: dict[str, object] = {"limit": config.eval.limit, "data": files.data_hashes(setting.data)}
        if config.eval.lc_strength != "cv":
            found["lc_strength"] = config.eval.lc_strength
        if finished is None:
            found |= {"seed": config.seed, "answering": config.eval.answering}
        if _annotations(setting) is None:
            annotator = load_annotator(config.eval.annotator)
            found["annotator"] = [annotator.name, annotator.config_hash, annotator.prompt_hash, config.eval.order]
        return found

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``. Tokens are bounded by bytes; of a judge's question, too. Finished outputs are read."""
        if _annotations(setting) is not None:
            return Plan()
        config = setting.config.eval
        tasks, annotator = files.load_instructions(setting.data)[: config.limit], load_annotator(config.annotator)
        if setting.finished is not None:
            given, _ = read_given(setting.finished.path, tasks, setting.finished.model)
            answered = {t: text for t in tasks if (text := given[t.id].text) is not None}
            return Plan(Calls(), planned([_item(t, text) for t, text in answered.items()], annotator, config.order))
        written = generating(answer_requests(setting.config, _prompts(tasks), STAGE))
        new = config.answering.max_new_tokens
        return Plan(written, planned([_item(t, "") for t in tasks], annotator, config.order, unwritten=new))

    def recognise(self, path: Path) -> str | None:
        """See ``Benchmark``: ``alpaca-outputs`` or ``alpaca-annotations``."""
        return files.recognise(path)

    def run(self, subject: Subject) -> Outcome:
        """Answers in ``answers.jsonl``, judgments in ``judgments.jsonl``; both in AlpacaEval's format beside them.

        Raises:
            ConfigError: there is no judge, or the annotator cannot be used.
            DataError: a file cannot be used.
        """
        everything = files.load_instructions(subject.setting.data)
        tasks = everything[: subject.config.eval.limit]
        lengths = LengthModel(
            gamed=files.load_gamed(subject.setting.data),
            difficulties=[t.difficulty for t in everything],
            by_position=_annotations(subject.setting) is not None,
        )
        if (annotations := _annotations(subject.setting)) is not None:
            told = subject.config.eval.lc_strength == "published"
            published = partial(files.load_published_weights, subject.setting.data) if told else None
            return score_annotations(annotations.path, tasks, lengths, annotations.model, published)
        return _answer_and_judge(subject, tasks, lengths)


def _annotations(setting: Setting) -> Finished | None:
    finished = setting.finished
    return finished if finished is not None and finished.kind == files.ANNOTATIONS else None


# --- answers to be judged


def _answer_and_judge(subject: Subject, tasks: Sequence[Instruction], lengths: LengthModel) -> Outcome:
    config, judge = subject.config.eval, subject.setting.judge
    if judge is None or judge.engine is None:
        raise ConfigError(
            "AlpacaEval's answers are compared by a judge that reads text, and none was named. Name a model with "
            "--judge, or score finished annotations."
        )
    annotator = load_annotator(config.annotator)
    extra: dict[str, Metric] = {}
    if subject.setting.finished is None:
        given = answer_prompts(subject, _prompts(tasks), STAGE)
    else:
        given, extra = read_given(subject.setting.finished.path, tasks, subject.setting.finished.model)
    items = [_item(t, text) for t in tasks if (text := given[t.id].text) is not None]
    judged = ask(subject, items, annotator, judge, config.order)
    pairs = [_judged_pair(t, given[t.id], judged.get(t.id), annotator) for t in tasks]
    scores = score(pairs, lengths)
    _export(subject, annotator, judge, tasks, given, judged)
    each = [j.ways for j in judged.values()]
    ways = sum(weighed for weighed, _ in each), sum(in_words for _, in_words in each)
    return Outcome(
        scores.rows,
        _judge_text(annotator, judge, ways),
        scores.metrics | extra,
        _comparability(subject.setting, annotator, judge, tasks, ways, lengths),
        sum(given[t.id].failed for t in tasks) + sum(j.failed for j in judged.values()),
        scores.replicates,
    )


def _item(task: Instruction, answer: str) -> Item:
    return Item(task.id, task.text, task.reference, answer)


def _prompts(tasks: Sequence[Instruction]) -> dict[str, tuple[Message, ...]]:
    return {t.id: (Message(role="user", content=t.text),) for t in tasks}


def answer_requests(
    config: RunConfig, prompts: Mapping[str, tuple[Message, ...]], stage: str
) -> list[GenerationRequest]:
    """One request per prompt, asked as ``eval.answering`` says; seeds depend on the stage's name."""
    sampling = config.eval.answering
    return [
        GenerationRequest(
            id=name,
            prompt=messages,
            seeds=(derive_seed(config.seed, stage, name, 0),),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
        )
        for name, messages in prompts.items()
    ]


def answer_prompts(subject: Subject, prompts: Mapping[str, tuple[Message, ...]], stage: str) -> dict[str, Given]:
    """The model's answers to prompts, kept in ``answers.jsonl``; of what it did not answer, why."""
    found = {c.prompt_id: c for c in answers(subject, "answers.jsonl", answer_requests(subject.config, prompts, stage))}
    failures = {} if len(found) >= len(prompts) else dict(subject.engine.failures)
    return {name: _given(found.get(name), failures.get(name, "failed: no answer")) for name in prompts}


def _given(completion: Completion | None, reason: str) -> Given:
    if completion is None:
        return Given(None, None, reason, failed=reason not in SETTLED)
    return Given(completion.text, completion.finish_reason == "length")


def _judged_pair(task: Instruction, given: Given, judged: Judged | None, annotator: Annotator) -> Pair:
    measures: dict[str, float | None] = {}
    detail: dict[str, object] = {}
    if given.cut is not None:
        measures["truncated"] = float(given.cut)
    if given.text is not None:
        measures["quotes_judge_prompt"] = float(annotator.quoted_in(given.text))
    if judged is not None:
        item = _item(task, given.text or "")
        measures["shortened_for_judge"] = float(is_shortened(item))
        if judged.verdicts:
            measures["first_shown_win_rate"] = None if judged.first_shown is None else 100 * judged.first_shown
        if len(judged.verdicts) > 1:
            measures["order_agreement"] = judged.agreement
        detail["judgments"] = {order: excerpt(j.raw) for order, j in judged.verdicts.items()}
    return Pair(
        id=task.id,
        category=task.dataset,
        instruction=task.text,
        reference=task.reference,
        answer=given.text,
        win=judged.win if judged else None,
        reason=judged.reason if judged else given.reason,
        position=task.position,
        difficulty=task.difficulty,
        measures=measures,
        detail=detail,
    )


def _judge_text(annotator: Annotator, judge: JudgeRole, ways: tuple[int, int]) -> str:
    weighed, in_words = ways
    told = f"{judge.name}, asked as {annotator.name}" + (f", {IN_WORDS}" if in_words else "")
    told += f" for {in_words:,} verdicts and log-probabilities for {weighed:,}" if in_words and weighed else ""
    unlike = [] if _is_official(annotator, judge) else [f"not {annotator.model}"]
    unlike += ["not by log-probabilities"] if in_words and annotator.by_logprobs else []
    return f"{told} ({', '.join(unlike)}: not comparable with AlpacaEval's leaderboard)" if unlike else told


def _is_official(annotator: Annotator, judge: JudgeRole) -> bool:
    """Whether the judge is the annotator's own model, served by its maker: anybody can call a model by that name."""
    if not (judge.address or judge.name).startswith(PREFIX):
        return False
    spec = parse_spec(judge.address or judge.name)
    host = urlsplit(spec.base_url).hostname or ""
    return spec.model == annotator.model and (host in _MAKERS or host.endswith(_HOSTED))


def _comparability(
    setting: Setting,
    annotator: Annotator,
    judge: JudgeRole,
    tasks: Sequence[Instruction],
    ways: tuple[int, int],
    lengths: LengthModel,
) -> dict[str, str]:
    config = setting.config.eval
    asked = f"T{annotator.temperature:g} n{annotator.max_tokens}"
    way = f"{IN_WORDS}, {asked}" if ways[1] or not annotator.by_logprobs else "log-probabilities"
    way = f"log-probabilities and {way}" if all(ways) else way
    order = "both" if config.order == "both" else "seeded" if annotator.randomized else "reference first"
    answering = "finished outputs" if setting.finished else sampling_key(config.answering)
    return {
        "judge": judge.name,
        "snapshot": judge.snapshot,
        "annotator": f"{annotator.name}#{annotator.config_hash}",
        "prompt": annotator.prompt_hash,
        "parameters": f"{way}; answers {answering}",
        "order": order,
        "reference": hash_json([t.reference for t in tasks]),
        "data": hash_json([t.text for t in tasks]),
        "length_control": lengths.formula,
        "alpaca_eval": package_version(),
    }


def _export(
    subject: Subject,
    annotator: Annotator,
    judge: JudgeRole,
    tasks: Sequence[Instruction],
    given: dict[str, Given],
    judged: dict[str, Judged],
) -> None:
    """``model_outputs.json`` and ``annotations.json``, as AlpacaEval writes and reads them."""
    shown = [(t, text) for t in tasks if (text := given[t.id].text) is not None]
    outputs = [
        ModelOutput(instruction=t.text, output=text, generator=subject.name, dataset=t.dataset) for t, text in shown
    ]
    annotations = [
        Annotation(
            instruction=t.text,
            output_1=t.reference,
            generator_1=t.reference_by,
            dataset=t.dataset,
            output_2=text,
            generator_2=subject.name,
            annotator=f"{annotator.name} asked of {judge.name}",
            preference=None if (win := judged[t.id].win) is None else 1 + win,
            raw_completion=raw_of(judged[t.id]),
        )
        for t, text in shown
    ]
    files.write_outputs(subject.directory / "model_outputs.json", outputs)
    files.write_annotations(subject.directory / "annotations.json", annotations)
