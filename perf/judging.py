"""What goes wrong in a micro run's judge after M1: which pairs it loses, and what its critiques get wrong.

    python perf/judging.py --runs perf/out/rehearsal/s*-none     runs of perf/variants.py; a minute, nothing is trained
    python perf/judging.py --runs perf/out/micro/s*-self         or of perf/micro.py

Read from the stored judgments of ``micro-judge-accuracy@1``; mean and standard deviation over seeds.
The fixed answers are the same for every model; its own answers are not.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from leaderboards.judge_accuracy.micro import MicroJudgeAccuracy
from selfreward_bench.micro import data_path, oracle, world
from selfreward_bench.micro.notes import notes
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Completion, Judgment, Prompt, RankedPrompt

MODELS = ("SFT", "M1", "M2", "M3")
CRITIQUE = re.compile(r"Missing: (.*)\. Wrong: (.*)\. Form: (\w+)\.")
Numbers = dict[str, list[float]]


@dataclass(frozen=True)
class Answer:
    """An answer with its true grade."""

    prompt_id: str
    question: str
    text: str
    truth: int

    @property
    def family(self) -> str:
        task = world.parse(self.question)
        return task.family if task else "unknown"

    @property
    def critique(self) -> tuple[str, ...]:
        task = world.parse(self.question)
        found = CRITIQUE.fullmatch(notes(task, self.text)) if task else None
        return found.groups() if found else ()


def fixed_answers() -> dict[str, Answer]:
    ranked = jsonl.read(data_path("rankings"), RankedPrompt)
    return {
        f"{r.id}/{i}": Answer(r.id, r.messages[-1].content, x.text, oracle.score(r.messages[-1].content, x.text) or 0)
        for r in ranked
        for i, x in enumerate(r.responses)
    }


def own_answers(folder: Path, questions: Mapping[str, str]) -> dict[str, Answer]:
    made = (c for c in jsonl.read(folder / "own-answers.jsonl", Completion) if c.finish_reason != "length")
    grades = {c.id: (c, oracle.score(questions[c.prompt_id], c.text)) for c in made}
    return {i: Answer(c.prompt_id, questions[c.prompt_id], c.text, g) for i, (c, g) in grades.items() if g is not None}


def pairs(answers: Mapping[str, Answer]) -> Iterator[tuple[str, str]]:
    """The better one first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, answer in answers.items():
        groups[answer.prompt_id].append(name)
    for a, b in (pair for group in groups.values() for pair in combinations(group, 2)):
        if (gap := answers[a].truth - answers[b].truth) != 0:
            yield (a, b) if gap > 0 else (b, a)


def accuracies(answers: Mapping[str, Answer], judged: Iterable[Judgment]) -> Numbers:
    """Of all pairs and of kinds of pairs, 1, 1/2 or 0 each."""
    scores = {f"{j.prompt_id}/{j.index}": j.score for j in judged}
    found: Numbers = defaultdict(list)
    for a, b in pairs(answers):
        x, y = scores.get(a), scores.get(b)
        if x is None or y is None:
            continue
        better, worse = answers[a], answers[b]
        longer = len(better.text) - len(worse.text)
        length = "longer" if longer > 0 else "shorter" if longer < 0 else "as long"
        kinds = ("all pairs", better.family, f"true gap {better.truth - worse.truth}", f"the better one is {length}")
        for kind in kinds:
            found[kind].append((x > y) + (x == y) / 2)
    return found


def critiques(answers: Mapping[str, Answer], judged: Iterable[Judgment]) -> Numbers:
    """Scores, and how what the judge writes differs from what a critic that knows the world writes."""
    found: Numbers = defaultdict(list)
    for j in judged:
        answer = answers[f"{j.prompt_id}/{j.index}"]
        if j.score is not None:
            found["score"].append(j.score)
            found[f"score where the truth is {answer.truth}"].append(j.score)
            found["top grade"].append(j.score >= 4.5)
        said = CRITIQUE.fullmatch(json.loads(j.raw).get("justification", "").strip())
        if not said or not answer.critique:
            continue
        found["critique right in every word"].append(said.groups() == answer.critique)
        for part, told, true in zip(("missing", "wrong"), said.groups(), answer.critique, strict=False):
            kind = "false alarm" if true == "nothing" else "overlooked"
            found[f"{part}: {kind}"].append((told == "nothing") != (true == "nothing"))
    return found


def show(title: str, numbers: Mapping[str, Sequence[Numbers]]) -> None:
    """A row per number, a column per model."""
    print(f"\n| {title} | " + " | ".join(numbers) + " |\n" + "|---" * (len(numbers) + 1) + "|")
    for name in sorted({n for seeds in numbers.values() for one in seeds for n in one}):
        cells = []
        for seeds in numbers.values():
            means = [statistics.fmean(one[name]) for one in seeds if one.get(name)]
            spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
            cells.append(f"{statistics.fmean(means):.3f}{spread}" if means else "-")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    runs = sorted(parser.parse_args().runs)
    fixed = fixed_answers()
    questions = {p.id: p.text for p in jsonl.read(data_path("test"), Prompt)}
    tables: dict[str, dict[str, list[Numbers]]] = defaultdict(lambda: defaultdict(list))
    for folder in (run / name / "eval" / MicroJudgeAccuracy.key for name in MODELS for run in runs):
        if not folder.exists():  # a run without the SFT baseline
            continue
        name, judged = folder.parts[-3], jsonl.read(folder / "judgments.jsonl", Judgment)
        tables["accuracy, fixed answers"][name].append(accuracies(fixed, judged))
        tables["fixed answers"][name].append(critiques(fixed, judged))
        own, own_judged = own_answers(folder, questions), jsonl.read(folder / "own-judgments.jsonl", Judgment)
        tables["accuracy, own answers"][name].append(accuracies(own, own_judged))
    print(f"{len(runs)} runs, {sum(1 for _ in pairs(fixed)):,} pairs of fixed answers")
    for title, numbers in tables.items():
        show(title, numbers)


if __name__ == "__main__":
    main()
