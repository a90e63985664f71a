"""Head-to-head verdicts of a run, prompt by prompt: both answers, and what the judge said in each order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from leaderboards.standings import MATCHES
from reports import wording
from reports.facts.run import RunFacts
from reports.samples import choosing, files
from reports.samples.records import (
    DISAGREEING,
    TRUNCATED,
    UNPARSED,
    WIN_SHARE,
    Match,
    Sample,
    SampleSet,
    Side,
    start_pair,
)
from reports.samples.rows import embedded_prompts

__all__ = ["matched"]

Stored = Mapping[str, Any]  # a line of comparisons.jsonl
Pair = tuple[int, int]  # numbers of two checkpoints


def matched(facts: RunFacts, label: str, gaps: list[str]) -> SampleSet | None:
    """The samples of a run's tournament; None where there is none, or one of other weights.

    Args:
        label: what stands before a checkpoint's name where there are several runs.
    """
    if facts.tournament is None:
        return None
    root, names = Path(facts.path), list(facts.tournament.checkpoints)
    answers = [_answers(root / n / "eval" / f"{MATCHES}@1", f"{label}{files.name(n)}", gaps) for n in names]
    verdicts = _verdicts(root / MATCHES, names, label, gaps)
    prompts = embedded_prompts() | _stored_prompts(root / MATCHES / "prompts.jsonl", label, gaps)
    samples = []
    for prompt_id in dict.fromkeys(i for found in answers for i in found):
        sides = {
            k: Side(
                None, prompt=prompts.get(prompt_id, ""), answer=found[0], flags=TRUNCATED * found[1], chars=found[2]
            )
            for k in range(len(names))
            if (found := answers[k].get(prompt_id))
        }
        matches = dict(_matches(sides, verdicts.get(prompt_id, {}), names))
        samples.append(Sample(files.name(prompt_id), WIN_SHARE, "", sides, matches))
    key = facts.tournament.benchmark
    title = f"{key} ({label.removesuffix(' · ')})" if label else key
    checkpoints = [f"{label}{files.name(n)}" for n in names]
    return choosing.as_set(title, checkpoints, samples, start_pair(names, [len(names) - 1]))


def _verdicts(folder: Path, names: Sequence[str], label: str, gaps: list[str]) -> dict[str, dict[Pair, list[Stored]]]:
    """Prompt id -> the two checkpoints, as the file names them -> verdicts in one order or both."""
    number = {name: k for k, name in enumerate(names)}
    found: dict[str, dict[Pair, list[Stored]]] = {}
    for v in files.objects(folder / "comparisons.jsonl", gaps, f"{label}{MATCHES}/comparisons.jsonl"):
        a, b = number.get(str(v.get("a"))), number.get(str(v.get("b")))
        if a is not None and b is not None and a != b:
            found.setdefault(str(v.get("prompt_id")), {}).setdefault((a, b), []).append(v)
    return found


def _matches(
    sides: Mapping[int, Side], verdicts: Mapping[Pair, Sequence[Stored]], names: Sequence[str]
) -> Iterator[tuple[Pair, Match]]:
    for low, high in combinations(sorted(sides), 2):
        stored = [(v, (low, high)) for v in verdicts.get((low, high), ())]
        stored += [(v, (high, low)) for v in verdicts.get((high, low), ())]
        if sides[low].answer == sides[high].answer:  # a verdict that is stored all the same is of former answers
            yield (low, high), Match(0.5, "the same answer: a tie, nobody was asked")
        elif not stored:
            cut = [names[k] for k in (low, high) if sides[k].flags & TRUNCATED]
            reason = f"answer truncated: {wording.listing(cut)}" if cut else "no verdict"
            yield (low, high), Match(None, reason)
        else:
            yield (low, high), _match(stored, low, names)


def _match(stored: Sequence[tuple[Stored, Pair]], low: int, names: Sequence[str]) -> Match:
    """From the side of ``low``, whoever the file names first."""
    shares: list[float] = []
    judged: list[tuple[str, str]] = []
    for v, (a, b) in stored:
        first = a if v.get("order") == "ab" else b
        preference = files.number(v.get("preference"))
        if preference is not None:
            shares.append(preference if first == low else 1 - preference)
        told = "no verdict" if preference is None else f"{wording.number(preference, 'share')} for it"
        text = files.said(v.get("raw")) or files.name(v.get("reason"))
        judged.append((f"Judge, {files.name(names[first])} shown first: {told}", text))
    sides = {(s > 0.5) - (s < 0.5) for s in shares}
    complete = len(shares) == len(stored)
    reason = "" if complete else next((files.name(v.get("reason")) for v, _ in stored if v.get("reason")), "no verdict")
    flags = DISAGREEING * (len(sides) > 1) | UNPARSED * (not complete)
    return Match(sum(shares) / len(shares) if complete and shares else None, reason, tuple(judged), flags)


def _answers(folder: Path, place: str, gaps: list[str]) -> dict[str, tuple[str, bool, int]]:
    """Prompt id -> answer, whether it was cut, and its length."""
    rows = files.objects(folder / "answers.jsonl", gaps, f"{place}/eval/{folder.name}/answers.jsonl")
    return {
        str(v.get("prompt_id")): (
            files.shown(v.get("text")),
            v.get("finish_reason") == "length",
            len(text) if isinstance(text := v.get("text"), str) else 0,
        )
        for v in rows
        if v.get("index") == 0
    }


def _stored_prompts(path: Path, label: str, gaps: list[str]) -> dict[str, str]:
    rows = files.objects(path, gaps, f"{label}{MATCHES}/{path.name}")
    return {str(v.get("id")): files.conversation(v.get("messages")) for v in rows}
