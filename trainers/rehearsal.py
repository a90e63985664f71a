"""What a round rehearses beside its preferences: judgments, as examples like those of EFT (judge prompt, review).

DPO on answers wears down the judge, which is the same weights (docs/micro-world.md). A kind of rehearsal says where the
judgments come from: ``own``, ``contrast`` and ``soft`` from the model alone, ``eft`` and ``renewed`` from human seed
data used again. Each is one function and a row in ``KINDS``; ``trainers.rehearsing`` trains what they make.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from selfreward_bench.config import OF_PEOPLE, RunConfig, SeedConfig
from selfreward_bench.errors import DataError
from selfreward_bench.judges import pointwise
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.judges.prompts import JudgePrompt
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Made
from selfreward_bench.types import Completion, Example, Judgment, Message, Prompt, RankedPrompt
from trainers import eft, rewards
from trainers.answers import Places
from trainers.similar import nearest

__all__ = ["KINDS", "READ", "Source", "most_asked", "rows_wanted", "write_rehearsal"]

#: what the round's stages before it made, and is read
READ: Final = {"candidates": "completions.jsonl", "judgments": "judgments.jsonl", "pairs": "pairs.jsonl"}
_SPARE: Final = 2  # as many are asked about as are wanted, where some turn out to be of no use


@dataclass(frozen=True, slots=True)
class Source:
    """What a round has that can be rehearsed.

    Attributes:
        prompts, completions: of the round.
        judgments: what the stage ``judgments`` holds; those of another judge than the parent are left alone.
        ranked: the seed's ranked responses; read for ``renewed``.
        examples: the seed's EFT examples; read for ``eft``.
        seeds: how these were made, and how far a score is thinned.
    """

    prompts: Sequence[Prompt]
    completions: Sequence[Completion]
    judgments: Sequence[Judgment]
    ranked: Sequence[RankedPrompt]
    examples: Sequence[Example]
    seeds: SeedConfig


@dataclass(frozen=True, slots=True)
class _Row:
    """A judgment that may be rehearsed; its texts are put together where it is."""

    id: str
    score: float
    example: Callable[[], Example]


def rows_wanted(config: RunConfig, pairs: int) -> int:
    """Judgments that a round's training has room for: so many that none need come twice."""
    steps = math.ceil(config.dpo.epochs * math.ceil(pairs / config.dpo.batch_size))
    return steps * config.rehearsal.size


def most_asked(config: RunConfig, rows: int) -> int:
    """Judgments that are asked at most for a rehearsal of so many rows."""
    section = config.rehearsal
    share = math.ceil(rows / max(len(section.what), 1))
    each = config.judge.samples if config.judge.mode == "sampled" else 1
    asked = {"soft": share * config.judge.samples, "contrast": share * each}
    asked["renewed"] = _SPARE * share * config.seeds.eft_samples
    own_work = {"own", "soft", "contrast"} & set(section.what)
    unrewarded = _SPARE * share * each if own_work and config.signal != "self" else 0
    return unrewarded + sum(asked.get(kind, 0) for kind in section.what)


def write_rehearsal(
    judge: PointwiseJudge,
    kinds: Sequence[str],
    source: Source,
    *,
    wanted: int,
    directory: Path,
    run_seed: int,
    reporter: Reporter,
) -> dict[str, float]:
    """Writes ``rehearsal.jsonl``: of each kind an equal share of ``wanted``, as far as there are as many.

    Scores of each kind are thinned as EFT's are (``seeds.eft_flatten``); what is left over is drawn by the seed.

    Args:
        judge: the parent, asked as the recipe's judge is.

    Returns:
        ``examples``; of each kind how many; ``judgments`` (asked for the rehearsal alone), ``unparsed`` of them;
        ``order_wrong``: made-up pairs whose order the parent got wrong; ``of_people``: examples made of human seed
        data; the histogram of all scores, ``score_4``; ``tokens`` written.

    Raises:
        DataError: there is nothing to rehearse.
    """
    seed = derive_seed(run_seed, judge.stage)  # each round draws anew
    desk = _Desk(judge, source, math.ceil(wanted / len(kinds)), directory, seed, reporter)
    rows = {kind: desk.drawn(kind, KINDS[kind](desk)) for kind in kinds}
    for kind in (kind for kind in kinds if not rows[kind]):
        reporter.message(f"Warning: {judge.stage}: of rehearsal kind {kind!r} nothing could be made.")
    if not any(map(len, rows.values())):
        raise DataError(
            f"{judge.stage}: nothing can be rehearsed ({', '.join(kinds)}): {desk.told()}. Where the model's judgments "
            "do not parse, look at the judge (docs/judges.md) or rehearse eft; or set rehearsal.what=none."
        )
    scores: Counter[float] = Counter()
    with jsonl.writing(directory / "rehearsal.jsonl") as add:
        for row in (row for kind in kinds for row in rows[kind]):
            add([row.example()])
            scores[row.score] += 1
    return {
        "examples": scores.total(),
        **{kind: len(rows[kind]) for kind in kinds},
        **{name: desk.counts[name] for name in ("judgments", "unparsed", "order_wrong", "tokens")},
        "of_people": sum(len(rows[kind]) for kind in kinds if kind in OF_PEOPLE),
        **{f"score_{score:g}": scores[score] for score in sorted(scores)},
    }


# --- the kinds


def own(desk: _Desk) -> Sequence[_Row]:
    """The parent's judgments of its own answers of this round, as they stand."""
    return desk.rows("own")


def soft(desk: _Desk) -> Iterator[_Row]:
    """The parent's own critiques, behind each a grade drawn so that its mean is that of several sampled judgments."""
    drawn = {row.id for row in desk.drawn("soft", desk.rows("soft"))}
    chosen = [(item, judgment) for item, judgment in desk.judged if f"soft/{item.id}" in drawn]
    means = desk.sampled("soft", [item for item, _ in chosen])
    for item, judgment in chosen:
        if item.id in means:
            grade = _between(means[item.id], item.id, desk.seed, desk.prompt.grades)
            if row := desk.row("soft", item, desk.review(judgment, grade)):
                yield row


def contrast(desk: _Desk) -> Iterator[_Row]:
    """Pairs whose order is known without anybody: an answer, and the answer to a similar other prompt in its place.

    Both are reviewed by the parent, and kept where the order comes out right.
    """
    answers: dict[str, list[int]] = {}
    for at, (item, _) in enumerate(desk.judged):
        answers.setdefault(item.prompt_id, []).append(at)
    names = sorted(answers, key=lambda name: derive_seed(desk.seed, "contrast", name))
    near = nearest([desk.judged[answers[name][0]][0].messages[-1].content for name in names])
    made: list[tuple[JudgeItem, Judgment, JudgeItem]] = []
    for name, other in zip(names, near, strict=True):
        if len(made) == desk.wanted:  # each that is kept gives two judgments
            break
        rng = random.Random(derive_seed(desk.seed, "contrast/answers", name))
        right, judgment = desk.judged[rng.choice(answers[name])]
        wrong = desk.judged[rng.choice(answers[names[other]])][0] if other is not None else right
        if wrong.response not in {desk.judged[at][0].response for at in answers[name]}:
            made.append((right, judgment, replace(right, index=right.index + _ELSEWHERE, response=wrong.response)))
    asked = desk.ask("contrast", desk.judge, [item for *_, item in made])
    found = {f"{j.prompt_id}/{j.index}": j for j in reversed(asked)}  # of several samples the first
    for right, judgment, wrong in made:
        against = found[wrong.id]
        if judgment.score is None or against.score is None:
            continue
        if judgment.score <= against.score:
            desk.counts["order_wrong"] += 1
            continue
        pair = [desk.row("contrast", right, desk.review(judgment)), desk.row("contrast", wrong, desk.review(against))]
        yield from (row for row in pair if row and None not in pair)


def seed_examples(desk: _Desk) -> Iterator[_Row]:
    """The seed's judging examples again, as M1 was trained on them."""
    for example in desk.source.examples:
        score = desk.prompt.read(example.completion[-1].content, truncated=False).score
        if score is not None:
            yield _row(example.model_copy(update={"id": f"eft/{example.id}"}), score)


def renewed(desk: _Desk) -> Iterator[_Row]:
    """The seed's ranked responses reviewed anew by the parent, kept where the order agrees with people."""
    bare: list[RankedPrompt] = []
    size = 0
    for prompt in sorted(desk.source.ranked, key=lambda p: derive_seed(desk.seed, "renewed", p.id)):
        if size >= _SPARE * desk.wanted:
            break
        without = tuple(r.model_copy(update={"review": None}) for r in prompt.responses)
        bare.append(prompt.model_copy(update={"responses": without}))
        size += len(without)
    items = [JudgeItem(p.id, i, p.messages, r.text) for p in bare for i, r in enumerate(p.responses)]
    judge = replace(desk.judge, mode="sampled", samples=desk.source.seeds.eft_samples)
    reviews = desk.ask("renewed", judge, items)
    try:
        made = eft.build_eft(bare, reviews, desk.prompt, desk.source.seeds, desk.seed).examples
    except DataError:  # none is left; the counts say so
        return
    for example in made:
        score = desk.prompt.read(example.completion[-1].content, truncated=False).score
        if score is not None:
            yield _row(example.model_copy(update={"id": f"renewed/{example.id}", "source": "renewed"}), score)


def _row(example: Example, score: float) -> _Row:
    return _Row(example.id, score, lambda: example)


Kind = Callable[["_Desk"], Iterable[_Row]]

#: what can be rehearsed (``rehearsal.what``)
KINDS: Final[dict[str, Kind]] = {
    "own": own,
    "contrast": contrast,
    "soft": soft,
    "eft": seed_examples,
    "renewed": renewed,
}
_ELSEWHERE: Final = 1_000_000  # added to an answer's index where another prompt's answer stands in its place


# --- what all kinds need


class _Desk:
    """One round's rehearsal in the making: the judge, what there is, and how many of a kind are wanted."""

    def __init__(
        self, judge: PointwiseJudge, source: Source, wanted: int, directory: Path, seed: int, reporter: Reporter
    ) -> None:
        self.judge, self.source, self.wanted, self.seed = judge, source, wanted, seed
        self.counts: Counter[str] = Counter()
        self._directory, self._reporter = directory, reporter

    @property
    def prompt(self) -> JudgePrompt:
        return self.judge.prompt

    @cached_property
    def judged(self) -> Sequence[tuple[JudgeItem, Judgment]]:
        """The round's answers with the parent's judgment of each, where it has a grade; of several samples the first.

        Where the parent gave no rewards (a control, another judge), it is asked about some of its answers now. Held are
        places; items and judgments are made and read when they are asked for.
        """
        items, found = rewards.judge_items(self.source.prompts, self.source.completions), self.source.judgments
        if not any(j.judge == self.judge.key for j in found):
            chosen = _some(self.seed, "own", list(pointwise.ids_of(items)), _SPARE * self.wanted)
            found = self.ask("own", self.judge, [item for item in items if item.id in chosen])
        places = Places(pointwise.ids_of(items))
        first, sample = array("q", [-1]) * len(items), array("q", [0]) * len(items)
        for number, judgment in enumerate(found):
            at = places.of(f"{judgment.prompt_id}/{judgment.index}")
            if at is None or judgment.score is None or judgment.judge != self.judge.key:
                continue
            if first[at] < 0 or judgment.sample < sample[at]:
                first[at], sample[at] = number, judgment.sample
        graded = array("q", (at for at, number in enumerate(first) if number >= 0))
        return Made(len(graded), lambda at: (items[graded[at]], found[first[graded[at]]]))

    def rows(self, kind: str) -> Sequence[_Row]:
        """The parent's judgments of its own answers, as they stand; no text is held."""
        ids, scores, places = [], array("d"), array("q")
        for at, (item, judgment) in enumerate(self.judged):
            if row := self.row(kind, item, self.review(judgment)):
                ids.append(row.id)
                scores.append(row.score)
                places.append(at)
        return Made(len(ids), lambda at: _Row(ids[at], scores[at], partial(self._as_it_stands, kind, places[at])))

    def _as_it_stands(self, kind: str, at: int) -> Example:
        item, judgment = self.judged[at]
        return self._example(kind, item, self.review(judgment) or "")

    def ask(self, name: str, judge: PointwiseJudge, items: Sequence[JudgeItem]) -> list[Judgment]:
        """The judge's judgments, in the order of the items; what a stage that was cut off left is not asked again."""
        path = self._directory / f"rehearsal.{name}.jsonl"
        if not items:
            jsonl.write(path, [])
            return []
        counts = rewards.write_items(judge, items, path=path, reporter=self._reporter, stage=judge.stage)
        self.counts["judgments"] += int(counts["judgments"])
        self.counts["unparsed"] += int(counts["judgments"] - counts["parsed"])
        self.counts["tokens"] += int(counts["tokens"])
        return jsonl.read(path, Judgment)

    def sampled(self, name: str, items: Sequence[JudgeItem]) -> dict[str, float]:
        """The mean score of ``judge.samples`` sampled judgments of each item that got one."""
        judgments = self.ask(name, replace(self.judge, mode="sampled"), items)
        return {r.id: r.score for r in pointwise.rewards(judgments) if r.score is not None}

    def review(self, judgment: Judgment, grade: float | None = None) -> str | None:
        """A judgment as a text that holds its grade; with another ``grade``, that one behind the same critique.

        Without the space it may begin with: templates write one of their own, and each round would add another. None
        where the text would not be read as the grade.
        """
        if judgment.score is None:
            return None
        if grade is None and self.judge.mode == "sampled":
            return judgment.raw.strip()
        if self.judge.mode == "sampled":
            prefix = self.prompt.assistant_prefix or self.prompt.verdict(judgment.score)
            critique = judgment.raw.rpartition(prefix)[0].strip()
        else:
            critique = str(json.loads(judgment.raw).get("justification", "")).strip()
        told = _nearest(judgment.score, self.prompt.grades) if grade is None else grade
        return f"{critique}\n{self.prompt.verdict(told)}".lstrip("\n")

    def row(self, kind: str, item: JudgeItem, review: str | None) -> _Row | None:
        """An example of judging; None where there is no review, or it cannot be read."""
        score = self.prompt.read(review, truncated=False).score if review else None
        if review is None or score is None:
            return None
        return _Row(f"{kind}/{item.id}", score, partial(self._example, kind, item, review))

    def _example(self, kind: str, item: JudgeItem, review: str) -> Example:
        return Example(
            id=f"{kind}/{item.id}",
            prompt=self.prompt.render(item.messages, response=item.response),
            completion=(Message(role="assistant", content=review),),
            source=kind,
        )

    def drawn(self, kind: str, rows: Iterable[_Row]) -> Sequence[_Row]:
        """At most ``wanted`` of the rows, in their order, no score far more common than the others."""
        found = rows if isinstance(rows, Sequence) else list(rows)
        ids, scores = [row.id for row in found], array("d", (row.score for row in found))
        even = eft.thinned(ids, scores, self.source.seeds.eft_flatten, self.seed)
        kept = _some(self.seed, f"{kind}/drawn", [ids[at] for at in even], self.wanted)
        places = array("q", (at for at, name in enumerate(ids) if name in kept))
        return Made(len(places), lambda at: found[places[at]])

    def told(self) -> str:
        """The counts in words."""
        return ", ".join(f"{name} {count:,}" for name, count in self.counts.items()) or "there is nothing"


def _some(seed: int, label: str, ids: Sequence[str], most: int) -> set[str]:
    """A seeded draw."""
    return set(sorted(ids, key=lambda name: derive_seed(seed, label, name))[:most])


def _nearest(score: float, grades: Sequence[float]) -> float:
    return min(grades, key=lambda grade: abs(grade - score))


def _between(mean: float, name: str, seed: int, grades: Sequence[float]) -> float:
    """One of the two grades around a mean, drawn so that the mean is kept."""
    below = max((g for g in grades if g <= mean), default=grades[0])
    above = min((g for g in grades if g >= mean), default=grades[-1])
    if below == above:
        return below
    drawn = random.Random(derive_seed(seed, "soft/grade", name)).random()
    return above if drawn < (mean - below) / (above - below) else below
