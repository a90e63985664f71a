"""One checkpoint's rows under one benchmark, read into what there is to see of each: texts, score, flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from leaderboards.standings import SCORES
from reports import wording
from reports.samples import files, points
from reports.samples.records import DISAGREEING, TRUNCATED, UNPARSED, Side
from selfreward_bench.micro import data_path

__all__ = ["RowReader", "embedded_prompts"]

_UNREAD: Final = frozenset({"no_verdict", "out_of_range", "conflicting", "no_verdict_or_truth", "no_number"})
_ORDERS: Final = {
    "alpaca-eval": {"ab": "Judge, reference shown first", "ba": "Judge, answer shown first"},
    "mt-bench": {"ab": "Judge, answer shown first", "ba": "Judge, baseline shown first"},
    "judge-accuracy": {"ab": "Judge, response 1 shown first", "ba": "Judge, response 2 shown first"},
}
_MAX_NUMBERS: Final = 8
_MICRO: Final = "micro-"
_GRADES: Final = ("quality", "alpaca-eval")  # whose answers the oracle grades from 0 to 5


class RowReader:
    """Reads a benchmark's directory."""

    def __init__(self, folder: Path, key: str, place: str, gaps: list[str]) -> None:
        self.folder, self.place, self.gaps = folder, place, gaps
        self.family = wording.family(key)
        self.graded = key.startswith(_MICRO) and self.family in _GRADES
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.answers: dict[str, Mapping[str, Any]] = {}

    def sides(self) -> Iterator[tuple[str, str, str, Side]]:
        """Sample id, metric, category and what there is, of each row that has something to read."""
        path = self.folder / SCORES
        if not path.is_file():
            self.gaps.append(f"{self.place}: there is no {SCORES}, so its samples cannot be shown.")
            return
        for values in files.objects(path, self.gaps, f"{self.place}/{SCORES}"):
            if isinstance(values.get("sample_id"), str):
                self.rows[values["sample_id"]] = values
        self._read_answers()
        for sample_id, row in self.rows.items():
            metric = next(iter(_mapping(_detail(row).get("measures"))), "")
            if self.family == "judge-accuracy" and metric != "pairwise_accuracy":
                continue
            side = self._side(sample_id, row, metric)
            if side.prompt or side.answer is not None:
                metric = metric or str(_detail(row).get("task", "value"))
                yield files.name(sample_id), files.name(metric), _category(row, metric), side

    def _read_answers(self) -> None:
        """Whole answers, where the rows keep the beginning of them or nothing."""
        prefixes = {"quality": ("sampled/", "greedy/"), "alpaca-eval": ("", None), "ifeval": ("", None)}.get(
            self.family, (None, None)
        )
        for name, prefix in zip(("answers.jsonl", "greedy.jsonl"), prefixes, strict=True):
            if prefix is None:
                continue
            for values in files.objects(self.folder / name, self.gaps, f"{self.place}/{name}"):
                kept: dict[str, Any] = {
                    "text": files.shown(values.get("text")),
                    "chars": len(text) if isinstance(text := values.get("text"), str) else None,
                    "finish_reason": values.get("finish_reason"),
                }
                self.answers[f"{prefix}{values.get('prompt_id')}/{values.get('index')}"] = kept

    def _side(self, sample_id: str, values: Mapping[str, Any], metric: str) -> Side:
        detail = _detail(values)
        measures = _mapping(detail.get("measures"))
        stored = self.answers.get(sample_id) or self.answers.get(f"{sample_id}/0") or {}
        reason = files.name(values.get("reason"))
        answer = _first_text(stored.get("text"), detail.get("response"), detail.get("answer"))
        prompt = self._prompt(values, detail)
        grade = detail.get("grade") if "grade" in detail else values.get("value")
        side = Side(
            value=files.number(values.get("value")),
            reason=reason,
            prompt=prompt,
            answer=answer,
            beside=tuple(_beside(detail)),
            judged=tuple(self._judged(detail)),
            numbers=self._numbers(measures, metric, detail),
            flags=_flags(measures, reason, stored.get("finish_reason") == "length"),
            chars=stored.get("chars") or _length(measures, answer),
            points=points.given(prompt, answer, files.number(grade)) if self.graded else None,
        )
        return self._pair(sample_id, side) if self.family == "judge-accuracy" else side

    def _prompt(self, values: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
        own = files.shown(detail.get("prompt"))
        if self.family == "mt-bench" and detail.get("turn") == 2:
            first = _detail(self.rows.get(f"{values.get('cluster')}/1", {})).get("prompt")
            return f"[Turn 1]\n{files.shown(first)}\n\n[Turn 2]\n{own}"
        return own or (embedded_prompts().get(str(values.get("cluster")), "") if self.family == "quality" else "")

    def _judged(self, detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        orders = _ORDERS.get(self.family, {})
        by_order: dict[str, Any] = {**_mapping(detail.get("judgments")), **_mapping(detail.get("raw"))}
        by_order |= {k.removeprefix("judgment_"): v for k, v in detail.items() if k.startswith("judgment_")}
        for order, raw in by_order.items():
            if text := files.said(raw):
                yield orders.get(order, f"Judge, order {files.name(order)}"), text
        if text := files.said(detail.get("judgment")):
            yield "Checker" if self.family == "ifeval" else "Judge", text
        if detail.get("response") is not None and (text := files.shown(detail.get("answer"))):
            yield "Extracted answer", text

    def _numbers(self, measures: Mapping[str, Any], metric: str, detail: Mapping[str, Any]) -> dict[str, float | None]:
        if self.family in ("nlp", "judge-accuracy"):  # weights and tie policies; the value says all
            return {}
        found = {n: v for n, v in measures.items() if "/" not in n and n != metric}
        found |= {n: detail[n] for n in ("grade", "reference_grade") if n in detail}
        return {files.name(n): files.number(v) for n, v in list(found.items())[:_MAX_NUMBERS]}

    def _pair(self, sample_id: str, side: Side) -> Side:
        """A pair whose two responses were judged one at a time: joined with the rows of the responses."""
        cluster, _, numbers = sample_id.removeprefix("pair/").rpartition("/")
        rows = [self.rows.get(f"response/{cluster}/{n}") for n in numbers.split("-")]
        if len(rows) != 2 or rows[0] is None or rows[1] is None:
            return side
        details = [_detail(r) for r in rows if r is not None]
        scores = [files.number(r.get("value")) for r in rows if r is not None]
        told = [wording.number(s, "points", extra_digits=1) for s in scores]  # a judge's preference may be slight
        raws = [(k, raw) for k, d in enumerate(details) for raw in _texts(d.get("raw"))]
        return replace(
            side,
            prompt=files.shown(details[0].get("prompt")),
            beside=tuple((f"Response {k + 1}", files.shown(d.get("response"))) for k, d in enumerate(details)),
            judged=tuple((f"Judge on response {k + 1}: {told[k]}", files.said(raw)) for k, raw in raws),
            better=_better(side.value, scores),
        )


def _better(value: float | None, scores: Sequence[float | None]) -> int | None:
    """Which of two was ranked higher: the one the judge preferred, if that was right, else the other."""
    a, b = scores
    if a is None or b is None or a == b or value not in (0, 1):
        return None
    return int((a > b) != (value == 1))


def _beside(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, label in (("reference", "Reference"), ("baseline", "Baseline's answer"), ("target", "Right answer")):
        if text := files.shown(detail.get(key)):
            yield label, text
    for k, text in enumerate(_texts(detail.get("responses")), 1):
        yield f"Response {k}", files.shown(text)


def _flags(measures: Mapping[str, Any], reason: str, cut: bool) -> int:
    truncated = cut or "truncated" in reason or any(measures.get(n) == 1 for n in measures if _is_truncation(n))
    lost = any(files.number(v) for n, v in measures.items() if n == "parse_failures" or n.endswith("/no_answer"))
    disagreeing = 0 in (measures.get("order_agreement"), measures.get("consistency"))
    return TRUNCATED * truncated | UNPARSED * (lost or reason in _UNREAD) | DISAGREEING * disagreeing


def _length(measures: Mapping[str, Any], answer: str | None) -> int | None:
    """Characters of an answer, as the benchmark counted them; a row may keep no more than its beginning."""
    counted = (files.number(v) for n, v in measures.items() if n in ("avg_length", "chars") or n.startswith("chars_"))
    length = next((n for n in counted if n is not None), None)
    return int(length) if length is not None else None if answer is None else len(answer)


def _is_truncation(metric: str) -> bool:
    return metric.startswith("truncated") and metric != "truncated_prompts"


def _category(values: Mapping[str, Any], metric: str) -> str:
    """The benchmark's own, or the part that its value counts under."""
    detail = _detail(values)
    if own := files.name(detail.get("category") or detail.get("task")):
        return own
    parts = (n.partition("/") for n in _mapping(detail.get("measures")))
    return next((files.name(part) for whole, _, part in parts if whole == metric and part), "")


@lru_cache(maxsize=1)
def embedded_prompts() -> dict[str, str]:
    """The embedded world's own prompts: evaluation on them stores their ids alone."""
    paths = (data_path(name) for name in ("test", "validation"))
    rows = (row for path in paths for row in files.objects(path, [], path.name))
    return {str(row.get("id")): files.conversation(row.get("messages")) for row in rows}


# --- values of rows


def _detail(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(values.get("detail"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    return [t for t in value if isinstance(t, str)] if isinstance(value, list) else []


def _first_text(*values: object) -> str | None:
    return next((files.shown(v) for v in values if isinstance(v, str)), None)
