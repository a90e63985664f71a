"""IFEval: the share of prompts, and of instructions in them, that a model follows.

``ifeval@1`` asks the 541 prompts once, greedily and through the chat template, or takes finished answers; lm-eval's own
checker decides. A row per prompt has what concerns all of it, a row per instruction whether that one is followed; both
are of the prompt's cluster, since instructions of one prompt are followed by one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from leaderboards.base import SETTLED, Outcome, Plan, Setting, Subject, answers, row
from leaderboards.descriptions import described
from leaderboards.ifeval import files
from leaderboards.ifeval.checker import MAX_CHARACTERS, Checked, Checker, open_checker, versions
from leaderboards.ifeval.files import Task
from selfreward_bench.engines.base import GenerationRequest
from selfreward_bench.models.bounds import generating
from selfreward_bench.storage.rundir import hash_file
from selfreward_bench.types import Message, Metric, SampleScore

__all__ = ["IfEval"]

_SHOWN: Final = 2_000  # characters of an answer in its row


@dataclass(frozen=True)
class _Answer:
    """What a model answered, and why nothing where that is so.

    Attributes:
        cut: whether it ended at the bound of new tokens; None where that is not known.
    """

    text: str | None
    cut: bool | None = None
    reason: str | None = None


class IfEval:
    """IFEval on its own data."""

    key: ClassVar = "ifeval@1"
    description: ClassVar = described(key)
    needs_judge: ClassVar = False
    local_only: ClassVar = False

    def identity(self, setting: Setting) -> dict[str, object]:
        """See ``Benchmark``."""
        config, finished = setting.config.eval, setting.finished
        made = hash_file(finished.path) if finished else config.ifeval_max_new_tokens
        return {
            "limit": config.limit,
            "data": setting.data.sha256(files.PROMPTS),
            "checker": versions(),
            "responses" if finished else "max_new_tokens": made,
        }

    def plan(self, setting: Setting) -> Plan:
        """See ``Benchmark``. Tokens are bounded by bytes."""
        versions()  # what is missing is told before anything is generated
        if setting.finished:
            return Plan()
        return Plan(generating(_requests(setting)))

    def recognise(self, path: Path) -> str | None:
        """See ``Benchmark``: ``ifeval-responses``."""
        return files.recognise(path)

    def run(self, subject: Subject) -> Outcome:
        """Answers in ``answers.jsonl``.

        Raises:
            DataError: the data, or finished answers, cannot be used.
            MissingDependencyError: the checker lacks a package.
        """
        setting, checker = subject.setting, open_checker()
        everything = files.load_tasks(setting.data)
        tasks = everything[: setting.config.eval.limit]
        metrics: dict[str, Metric] = {}
        if setting.finished:
            found = files.read_responses(setting.finished.path, everything)
            given = {t.id: _finished(found.by_prompt.get(t.prompt)) for t in tasks}
            if found.others:
                metrics["other_prompts"] = Metric(value=found.others, n_scored=found.n, n_total=found.n)
        else:
            given = _answers(subject, tasks)
        rows = [r for t in tasks for r in _rows(t, given[t.id], checker)]
        incomplete = sum(a.text is None and a.reason not in SETTLED | {"no_answer"} for a in given.values())
        return Outcome(rows, None, metrics, _comparability(setting, tasks), incomplete)


def _requests(setting: Setting) -> list[GenerationRequest]:
    """As lm-eval asks: greedily, nothing but the end of the turn stops an answer."""
    config = setting.config.eval
    return [
        GenerationRequest(
            id=task.id,
            prompt=(Message(role="user", content=task.prompt),),
            temperature=0,
            max_new_tokens=config.ifeval_max_new_tokens,
        )
        for task in files.load_tasks(setting.data, config.limit)
    ]


def _answers(subject: Subject, tasks: Sequence[Task]) -> dict[str, _Answer]:
    found = {c.prompt_id: c for c in answers(subject, "answers.jsonl", _requests(subject.setting))}
    failures: Mapping[str, str] = {} if len(found) >= len(tasks) else dict(subject.engine.failures)
    return {
        t.id: _Answer(c.text, c.finish_reason == "length")
        if (c := found.get(t.id))
        else _Answer(None, reason=failures.get(t.id, "failed: no answer"))
        for t in tasks
    }


def _finished(text: str | None) -> _Answer:
    return _Answer(text, reason="no_answer" if text is None else None)


def _comparability(setting: Setting, tasks: list[Task]) -> dict[str, str]:
    greedy = f"T0 n{setting.config.eval.ifeval_max_new_tokens}, chat template"
    return {
        "checker": versions(),
        "parameters": f"answers {'finished outputs' if setting.finished else greedy}",
        "data": files.hash_tasks(tasks),
    }


# --- rows


def _rows(task: Task, answer: _Answer, checker: Checker) -> list[SampleScore]:
    """The prompt's row, and one for each of its instructions."""
    checked, reason = _checked(task, answer, checker)
    strict, loose = (checked.strict, checked.loose) if checked else (None, None)
    measures: dict[str, float | None] = {
        "prompt_level_strict_acc": None if strict is None else float(all(strict)),
        "prompt_level_loose_acc": None if loose is None else float(all(loose)),
        "chars": None if answer.text is None else len(answer.text),
    }
    if answer.cut is not None:
        measures["truncated"] = float(answer.cut)
    told = {} if answer.text is None else {"answer": answer.text[:_SHOWN]}
    if checked:
        told["judgment"] = "\n".join(map(_told, task.instruction_id_list, checked.strict, checked.loose))
    rows = [row(task.id, task.id, measures, reason=reason, prompt=task.prompt, **told)]
    for n, name in enumerate(task.instruction_id_list):
        followed = None if strict is None else float(strict[n])
        each = {
            "inst_level_strict_acc": followed,
            "inst_level_loose_acc": None if loose is None else float(loose[n]),
            f"inst_level_strict_acc/{name.partition(':')[0]}": followed,
        }
        rows.append(row(f"{task.id}/instruction-{n}", task.id, each, reason=reason, instruction=name))
    return rows


def _checked(task: Task, answer: _Answer, checker: Checker) -> tuple[Checked | None, str | None]:
    """What the checker says, or why it says nothing."""
    if answer.text is None:
        return None, answer.reason
    if len(answer.text) > MAX_CHARACTERS:
        return None, "too_long_to_check"
    try:
        return checker.check(task, answer.text), None
    except Exception as error:  # of lm-eval's code, on a text that may be anything
        return None, f"checker_failed: {type(error).__name__}"


def _told(instruction: str, strict: bool, loose: bool) -> str:
    return f"{instruction}: {'followed' if strict else 'followed loosely' if loose else 'not followed'}"
