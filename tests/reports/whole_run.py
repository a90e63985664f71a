"""A run with something for every section of the page. What a model, a judge or a file may say are slots, ``slot17x``.

``fill`` puts other texts into the slots, in the files and in the names of the run and of a model: first a page of
harmless words, then one of hostile ones, and the two must have the same structure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from leaderboards.health.records import HEALTH, Health, IterationHealth, Reading, Warned
from leaderboards.standings import write_record

from .conftest import ALL, JUDGING, QUALITY, RunBuilder, difference, match
from .sample_run import alpaca, verdict

__all__ = ["SECTIONS", "file_name", "fill", "write"]

SECTIONS = (
    *("verdict", "quality", "alpaca-eval", "mt-bench", "nlp", "head-to-head", "human-evaluation", "judge-accuracy"),
    "benchmarks",
    *("training", "health", "samples", "pairs", "provenance", "glossary"),
)
OTHER = "slot0x"  # a model's name
ALPACA = "alpaca-eval@1"

_SLOT = re.compile(r"slot(\d+)x")
_NAME_BYTES = 180


def write(path: Path) -> Path:
    """Writes the run, its slots unfilled."""
    slots = (f"slot{n}x" for n in count(1))
    run = RunBuilder(path)
    models = (*ALL, OTHER)
    for step, model in enumerate(models):
        _results(run, model, step, slots)
        _training(run, model, step, slots)
    _comparisons(run, models, slots)
    _people(run, slots)
    _samples(run, slots)
    _health(run, slots)
    _configuration(path / "srbench.yaml", slots)
    failure = {"checkpoint": "M1", "fingerprint": "f", "benchmark": "slot-bench@1", "error": next(slots)}
    _json(path / "M1" / "eval" / "slot-bench@1" / "failure.json", {**failure, "message": next(slots)})
    return path


def fill(run: Path, texts: Sequence[str], shift: int = 0) -> Path:
    """Puts ``texts[(n + shift) % len(texts)]`` into slot n; gives the run's new place.

    In YAML and in names of files, characters that those cannot hold are left out.
    """
    text_of = lambda n: texts[(n + shift) % len(texts)]  # noqa: E731
    name = file_name(text_of(0))
    for file in [p for p in run.rglob("*") if p.is_file()]:
        printable = file.suffix == ".yaml"

        def filled(found: re.Match[str], printable: bool = printable) -> str:
            n = int(found[1])
            text = name if n == 0 else text_of(n)
            return json.dumps(_printable(text) if printable else text, ensure_ascii=not printable)[1:-1]

        file.write_text(_SLOT.sub(filled, file.read_text(encoding="utf-8")), encoding="utf-8")
    (run / OTHER).rename(run / name)
    return run.rename(run.parent / f"{len(texts)}-{shift} {file_name(text_of(1))}")


def file_name(text: str) -> str:
    """A file's name with as much of a text as a name can hold."""
    plain = text.replace("/", "\u2215").replace("\0", "").encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")
    return f"model {plain}".rstrip(". ")


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())


def _json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- the parts


def _results(run: RunBuilder, model: str, step: int, slots: Iterator[str]) -> None:
    up = 0.1 * step
    alike = {"judge": "judge-x", "data": "d" * 32}
    quality = {f"quality_sampled/{k}": 3 + up for k in ("name", "sort")} | {
        f"grade_sampled/{g}": (g + 1) / 21 for g in range(6)
    }
    run.result(model, metrics=quality, quality_sampled=3 + up, quality_greedy=3.5 + up, chars_sampled=30 + step)
    shares = {f"win_rate/{w}_length_{q}": 40 + q for w in ("expected", "answer") for q in (1, 2, 3, 4)}
    raw = {"win_rate": 40.0 + step, "length_controlled_winrate": 39.0 + step, "avg_length": 100.0 + step}
    run.result(model, ALPACA, metrics=raw | shares | {"win_rate/koala": 44.0}, conditions=alike)
    grades = {"grade": 5 + up, "grade_turn_1": 6 + up, "grade_turn_2": 4 + up, "grade/math": 3.0, "grade/roleplay": 4.0}
    run.result(model, "mt-bench@1", metrics=grades, conditions=alike)
    tasks = {"average": 0.6 - up / 10, "mmlu": 0.5, "mmlu/law": 0.4, "gsm8k": 0.7 - up, "gsm8k/no_answer": 0.1}
    run.result(model, "nlp@1", metrics=tasks, conditions=alike)
    judged = {"pairwise_accuracy": 0.6 + up / 5, "pairwise_accuracy_ties_wrong": 0.5, "spearman": 0.3 + up}
    judged |= {"pairwise_accuracy_ties_dropped": 0.7, "grade/4": 0.6, "grade/5": 0.4}
    run.result(model, JUDGING, judge=f"own@1/{next(slots)}", metrics=judged, conditions=alike)
    said = {"score": 1.5, f"score/part {step} {next(slots)}": 2.5}
    unlike = {f"key {next(slots)}": next(slots), "prompt": next(slots)}
    run.result(model, "new-benchmark@7", judge=next(slots), metrics=said, conditions=unlike)
    path = run.path / model / "eval" / "new-benchmark@7" / "result.json"
    _json(path, json.loads(path.read_text()) | {"settings": {f"setting {next(slots)}": next(slots)}})


def _training(run: RunBuilder, model: str, step: int, slots: Iterator[str]) -> None:
    if model in ("M0", "SFT"):
        return
    folder = run.path / model
    made = {"parent": f"M{step - 2}", "checks": {f"check {next(slots)}": next(slots)}, "fingerprint": f"f-{model}"}
    _json(folder / "iteration.json", made)
    run.stage(model, "candidates", {"answers": 9000, "truncated": 12, f"count {next(slots)}": 3})
    run.stage(model, "pairs", {"pairs": 2, "ties": 31})
    run.stage(model, "train", None)
    key = f"loss {next(slots)}"
    _lines(folder / "log.jsonl", [{"step": i, "loss": 3 / i, "rewards/margins": 0.1 * i, key: i} for i in range(1, 6)])
    if model == "M1":
        return
    run.pairs(model, [(next(slots), next(slots), next(slots)) for _ in range(3)])
    said = {"prompt_id": "p0", "index": 0, "score": 4.0, "reason": None}
    _lines(folder / "judgments.jsonl", [said | {"raw": next(slots)}, said | {"index": 1, "raw": next(slots)}])


def _comparisons(run: RunBuilder, models: Sequence[str], slots: Iterator[str]) -> None:
    measured = ((QUALITY, "quality_sampled"), (ALPACA, "win_rate"), ("mt-bench@1", "grade"), ("nlp@1", "average"))
    pairs = [("M1", "SFT"), ("M2", "M1"), ("M3", "M2"), ("M3", "M1"), ("M3", "M0"), (OTHER, "M3"), (OTHER, "M1")]
    found = [difference(a, b, 0.2, 0.1, 0.3, metric, benchmark) for a, b in pairs for benchmark, metric in measured]
    found += [difference(a, b, -0.2, -0.3, -0.1, "quality_sampled/sort") for a, b in pairs]
    run.standings(found, [match("M3", "M1").model_copy(update={"reasons": {f"reason {next(slots)}": 6}})])
    run.tournament(models)
    run.drift(models)
    for file in ("standings.json", "head-to-head/head_to_head.json"):
        values = json.loads((run.path / file).read_text())
        _json(run.path / file, values | {"notes": [f"note {next(slots)}"]})


def _people(run: RunBuilder, slots: Iterator[str]) -> None:
    share = {"value": 0.5, "low": 0.2, "high": 0.8, "n_scored": 9, "n_total": 9}
    pair = {"a": "M3", "b": "M1", "wins": 5, "ties": 2, "losses": 2, "p_value": 0.4}
    pair |= dict.fromkeys(("win", "tie", "loss", "net_win"), share)
    judges = [{"judge": next(slots), "way": way, "agreement": share, "kappa": share} for way in ("graded", "compared")]
    raters = [{"rater": next(slots), "rated": 9, "of": 9, "first": 0.5, "ties": 0.1} for _ in range(2)]
    agreed = dict.fromkeys(("fleiss_kappa", "krippendorff_alpha", "same"), share)
    said = {"sheet": next(slots), "source": next(slots), "checkpoints": {"M3": "f-M3"}, "n_items": 9, "pairs": [pair]}
    _json(
        run.path / "human" / "human.json", said | agreed | {"raters": raters, "judges": judges, "notes": [next(slots)]}
    )


def _samples(run: RunBuilder, slots: Iterator[str]) -> None:
    for model in ("M1", "M3", OTHER):
        rows = [
            alpaca(f"s{i} slot{900 + i}x", 10.0 * i + (model == "M3"), next(slots), prompt=f"slot{950 + i}x",
                   reference=f"slot{930 + i}x", judgments={"ab": next(slots), "ba": next(slots)},
                   category=f"c{i} slot{970 + i}x")
            for i in range(4)
        ]  # fmt: skip
        rows.append(
            alpaca("unscored", None, next(slots), reason=f"reason {next(slots)}", judgments={"ab": next(slots)})
        )
        _lines(run.path / model / "eval" / ALPACA / "scores.jsonl", rows)
        answer = {"prompt_id": "duel", "index": 0, "n_tokens": 3, "finish_reason": "stop", "seed": 0}
        _lines(run.path / model / "eval" / "head-to-head@1" / "answers.jsonl", [answer | {"text": next(slots)}])
    lines = [verdict("M3", "M1", "duel", order, 1.0, next(slots)) for order in ("ab", "ba")]
    _lines(run.path / "head-to-head" / "comparisons.jsonl", lines)


def _health(run: RunBuilder, slots: Iterator[str]) -> None:
    readings = [
        Reading(measure=m, model=f"M{i}", source=QUALITY, value=30.0 + i, low=29.0, high=40.0, n=9, n_total=10)
        for m in ("chars", "self_agreement", "distinct_2")
        for i in (1, 2, 3)
    ]
    lost = Reading(measure="truncated", model="M3", source=QUALITY, value=None, n=0, n_total=10, reason=next(slots))
    warned = Warned(
        measure="chars", model="M3", source=QUALITY, value=2.0, limit=1.5, text=next(slots), why=next(slots)
    )
    of = IterationHealth(model="M2", parent="M1", judge=next(slots), grades={"0": 3, "4": 5}, failures={next(slots): 2})
    record = Health(
        fingerprints={f"M{i}": f"f-M{i}" for i in (1, 2, 3)},
        answers_from=QUALITY,
        readings=(*readings, lost),
        warnings=(warned,),
        iterations=(of,),
    )
    write_record(run.path / HEALTH, record)


def _configuration(path: Path, slots: Iterator[str]) -> None:
    values = yaml.safe_load(path.read_text())
    values["config"] |= {"base": next(slots), f"key {next(slots)}": next(slots), "nested": {"deep": [next(slots)]}}
    path.write_text(json.dumps(values))  # JSON is YAML
