"""What the run's judges say of the comparisons that people were asked about, as far as they were shown the same texts.

Three kinds: every checkpoint, which graded each answer alone (``drift``); the judge of head-to-head, which compared
both in both orders; on the micro-world the oracle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from leaderboards import standings
from leaderboards.head_to_head.verdicts import COMPARISONS, Verdict
from leaderboards.human.records import Item
from leaderboards.micro import MicroQuality
from selfreward_bench.judges.pointwise import rewards
from selfreward_bench.micro import oracle
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Judgment, Prompt

__all__ = ["Said", "graded_prompts", "said", "text_hash"]

_DRIFT: Final = "drift"
_JUDGMENTS: Final = "judgments-*.jsonl"


@dataclass(frozen=True)
class Said:
    """One judge.

    Attributes:
        verdicts: item -> 1 where the answer of ``a`` is better, 0 of ``b``, 1/2 neither; items not judged are left out.
    """

    judge: str
    way: Literal["graded", "compared"]
    verdicts: Mapping[str, float]


def text_hash(text: str) -> str:
    """Of an answer, as the drift matrix names responses."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def graded_prompts(root: Path) -> set[str]:
    """The prompts whose answers the checkpoints of a run have graded."""
    found: set[str] = set()
    for path in (root / _DRIFT).glob(f"*/{_JUDGMENTS}"):
        found |= {j.prompt_id.rpartition("#")[0] for j in jsonl.resume(path, Judgment)}
    return found


def said(
    root: Path,
    items: Sequence[Item],
    source: str,
    answers: Mapping[tuple[str, str], str],
    prompts: Mapping[str, Prompt],
) -> Iterator[Said]:
    """What each judge of the run says.

    Args:
        source: the benchmark whose answers were compared.
        answers: ``(model, prompt id)`` -> the answer as it is now.
        prompts: by their ids.
    """
    kept = [i for i in items if _same(i, answers)]
    if source == MicroQuality.key:
        yield Said("oracle", "graded", dict(_by_grade(kept, _oracle(kept, answers, prompts))))
    elif compared := dict(_compared(root, kept)):
        yield Said(standings.read_tournament(root / standings.MATCHES).judge, "compared", compared)
    if (root / standings.DRIFT).is_file():
        for judge in standings.read_drift(root / standings.DRIFT).judges:
            grades = _grades(root / _DRIFT / Path(judge.name).name, judge.key)
            if found := dict(_by_grade(kept, grades)):
                yield Said(judge.name, "graded", found)


def _same(item: Item, answers: Mapping[tuple[str, str], str]) -> bool:
    """Whether both models still say what people saw."""
    now = (answers.get((name, item.prompt_id)) for name in (item.a, item.b))
    return [None if text is None else text_hash(text) for text in now] == [item.text_a, item.text_b]


def _by_grade(items: Sequence[Item], grades: Mapping[tuple[str, str], float]) -> Iterator[tuple[str, float]]:
    """The better grade wins; equal ones tie."""
    for item in items:
        a, b = (grades.get((item.prompt_id, text)) for text in (item.text_a, item.text_b))
        if a is not None and b is not None:
            yield item.id, (a > b) + (a == b) / 2


def _oracle(
    items: Sequence[Item], answers: Mapping[tuple[str, str], str], prompts: Mapping[str, Prompt]
) -> dict[tuple[str, str], float]:
    found = {}
    for item in items:
        for name in (item.a, item.b):
            text = answers[name, item.prompt_id]
            if (grade := oracle.score(prompts[item.prompt_id].text, text)) is not None:
                found[item.prompt_id, text_hash(text)] = float(grade)
    return found


def _grades(folder: Path, key: str) -> dict[tuple[str, str], float]:
    """Prompt and text -> grade, by one judge; its judgments are in the file that names it so."""
    found: dict[tuple[str, str], float] = {}
    for path in sorted(folder.glob(_JUDGMENTS)):
        made = [j for j in jsonl.resume(path, Judgment) if j.judge == key]
        for reward in rewards(made):
            prompt, _, text = reward.prompt_id.rpartition("#")
            if reward.score is not None:
                found[prompt, text] = reward.score
    return found


def _compared(root: Path, items: Sequence[Item]) -> Iterator[tuple[str, float]]:
    """Verdicts of both orders; where they contradict each other, it is a tie."""
    path = root / standings.MATCHES / COMPARISONS
    if not path.is_file() or not (root / standings.MATCHES / standings.TOURNAMENT).is_file():
        return
    stored: dict[tuple[str, str, str], list[float]] = {}
    for verdict in jsonl.resume(path, Verdict):
        if verdict.for_a is not None:
            stored.setdefault((verdict.a, verdict.b, verdict.prompt_id), []).append(verdict.for_a)
    for item in items:
        found = list(stored.get((item.a, item.b, item.prompt_id), ()))
        found += [1 - x for x in stored.get((item.b, item.a, item.prompt_id), ())]
        signs = {(x > 0.5) - (x < 0.5) for x in found}
        if found:
            yield item.id, (signs.pop() + 1) / 2 if len(signs) == 1 else 0.5
