"""One checkpoint's rows under one benchmark, read into what there is to see of each: texts, score, flags.

They are read twice, as they may be many: once for what tells which are shown (``glimpses``), once for the texts of
those (``sides``). No more than those texts are in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from leaderboards.standings import SCORES
from reports import wording
from reports.samples import files, points
from reports.samples.records import DISAGREEING, TRUNCATED, UNPARSED, Side
from selfreward_bench.micro import data_path

__all__ = ["Glimpse", "RowReader", "embedded_prompts"]

_UNREAD: Final = frozenset({"no_verdict", "out_of_range", "conflicting", "no_verdict_or_truth", "no_number"})
_ORDERS: Final = {
    "alpaca-eval": {"ab": "Judge, reference shown first", "ba": "Judge, answer shown first"},
    "mt-bench": {"ab": "Judge, answer shown first", "ba": "Judge, baseline shown first"},
    "judge-accuracy": {"ab": "Judge, response 1 shown first", "ba": "Judge, response 2 shown first"},
}
_MAX_NUMBERS: Final = 8
_MICRO: Final = "micro-"
_GRADES: Final = ("quality", "alpaca-eval")  # whose answers the oracle grades from 0 to 5
#: file -> family -> what stands before an answer's id in its row's
_ANSWERS: Final = {
    "answers.jsonl": {"quality": "sampled/", "alpaca-eval": "", "ifeval": ""},
    "greedy.jsonl": {"quality": "greedy/"},
}


#: what an answer is held against, and what that is called
_BESIDE: Final = (("reference", "Reference"), ("baseline", "Baseline's answer"), ("target", "Right answer"))


class Glimpse(NamedTuple):
    """A row without its texts.

    Attributes:
        id: as the file has it.
        lost: whether a verdict could not be read.
    """

    id: str
    value: float | None
    lost: bool


class _Seen(NamedTuple):
    """What is kept of a row until all of them are read; of texts digests, of no text an empty one.

    Attributes:
        first: the row whose prompt stands before this one's.
    """

    metric: str
    category: str
    value: float | None
    lost: bool
    answered: bool
    prompt: bytes
    beside: bytes
    response: bytes
    first: str


class RowReader:
    """Reads a benchmark's directory."""

    def __init__(self, folder: Path, key: str, place: str, gaps: list[str]) -> None:
        self.folder, self.place, self.gaps = folder, place, gaps
        self.family = wording.family(key)
        self.graded = key.startswith(_MICRO) and self.family in _GRADES
        self.rows: dict[str, Mapping[str, Any]] = {}
        self.answers: dict[str, Mapping[str, Any]] = {}

    # --- which rows there are

    def glimpses(self) -> Iterator[tuple[bytes, str, str, Glimpse]]:
        """Each row that has something to read: what was asked, metric, category, and what it came to.

        What was asked is a digest, equal for rows of one name and question. Of rows of one id the last is taken.
        """
        path = self.folder / SCORES
        if not path.is_file():
            self.gaps.append(f"{self.place}: there is no {SCORES}, so its samples cannot be shown.")
            return
        seen: dict[str, _Seen] = {}
        for values in files.objects(path, self.gaps, f"{self.place}/{SCORES}"):
            if isinstance(sample_id := values.get("sample_id"), str):
                seen[sample_id] = self._seen(values)
        answered = {key for name in _ANSWERS for key, _ in self._stored(name, self.gaps)}
        for sample_id, row in seen.items():
            if self.family == "judge-accuracy" and row.metric != "pairwise_accuracy":
                continue
            prompt, question = self._question(sample_id, row, seen)
            if prompt or row.answered or not answered.isdisjoint(_keys(sample_id)):
                asked = _digest(files.name(sample_id).encode(), question)
                yield asked, row.metric, row.category, Glimpse(sample_id, row.value, row.lost)

    def _seen(self, values: Mapping[str, Any]) -> _Seen:
        detail = _detail(values)
        measures = _mapping(detail.get("measures"))
        metric = next(iter(measures), "") or str(detail.get("task", "value"))
        second = self.family == "mt-bench" and detail.get("turn") == 2
        return _Seen(
            _short(metric),
            _category(values, metric),
            files.number(values.get("value")),
            _is_lost(measures, values.get("reason")),
            any(isinstance(detail.get(name), str) for name in ("response", "answer")),
            _digest(_bytes(detail.get("prompt")) or self._embedded(values).encode()),
            _digest(*map(_bytes, (*(detail.get(key) for key, _ in _BESIDE), *_texts(detail.get("responses"))))),
            _digest(_bytes(detail.get("response"))) if self.family == "judge-accuracy" else b"",
            f"{values.get('cluster')}/1" if second else "",
        )

    def _question(self, sample_id: str, row: _Seen, seen: Mapping[str, _Seen]) -> tuple[bool, bytes]:
        """Whether anything was asked, and a digest of what: as ``_side`` and ``_pair`` put it together."""
        if row.first:
            first = seen.get(row.first)
            return True, _digest(first.prompt if first else b"", row.prompt, row.beside)
        rows = [seen.get(i) for i in _judged_by_itself(sample_id)] if self.family == "judge-accuracy" else []
        if len(rows) == 2 and rows[0] is not None and rows[1] is not None:
            return bool(rows[0].prompt), _digest(rows[0].prompt, *(r.response for r in rows if r is not None))
        return bool(row.prompt), _digest(row.prompt, row.beside)

    # --- what there is of some

    def sides(self, ids: Set[str]) -> dict[str, Side]:
        """What there is of some rows, by their id; what cannot be read was told by ``glimpses``."""
        self.rows = self._rows(ids)
        needed = {i for sample_id, row in self.rows.items() for i in self._beside_it(sample_id, row)}
        self.rows |= self._rows(needed - ids) if needed - ids else {}
        keys = {key for sample_id in ids for key in _keys(sample_id)}
        self.answers = {k: v for name in _ANSWERS for k, v in self._stored(name, [], ids) if k in keys}
        return {i: self._side(i, self.rows[i]) for i in ids if i in self.rows}

    def _rows(self, ids: Set[str]) -> dict[str, Mapping[str, Any]]:
        read = files.numbered(self.folder / SCORES, [], SCORES, files.may_hold("sample_id", ids))
        return {i: values for _, values in read if isinstance(i := values.get("sample_id"), str) and i in ids}

    def _beside_it(self, sample_id: str, row: Mapping[str, Any]) -> Sequence[str]:
        """The rows that tell what this one was asked."""
        if self.family == "mt-bench":
            return (f"{row.get('cluster')}/1",)
        return _judged_by_itself(sample_id) if self.family == "judge-accuracy" else ()

    def _stored(
        self, name: str, gaps: list[str], ids: Set[str] | None = None
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Whole answers by id, where the rows keep the beginning of them or nothing.

        Args:
            ids: of the rows whose answers are wanted, and maybe of others; None: of all, without their texts.
        """
        prefix = _ANSWERS[name].get(self.family)
        if prefix is None:
            return
        path, place = self.folder / name, f"{self.place}/{name}"
        if ids is None:
            yield from ((_key(prefix, v), {}) for v in files.objects(path, gaps, place))
            return
        asked = {part for i in ids for part in (i.removeprefix(prefix), i.removeprefix(prefix).rpartition("/")[0])}
        for _, values in files.numbered(path, gaps, place, files.may_hold("prompt_id", asked)):
            kept: dict[str, Any] = {
                "text": files.shown(values.get("text")),
                "chars": len(text) if isinstance(text := values.get("text"), str) else None,
                "finish_reason": values.get("finish_reason"),
            }
            yield _key(prefix, values), kept

    def _side(self, sample_id: str, values: Mapping[str, Any]) -> Side:
        detail = _detail(values)
        measures = _mapping(detail.get("measures"))
        metric = next(iter(measures), "")
        stored = next((found for key in _keys(sample_id) if (found := self.answers.get(key))), {})
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
            flags=_flags(measures, reason, cut=stored.get("finish_reason") == "length"),
            chars=stored.get("chars") or _length(measures, answer),
            points=points.given(prompt, answer, files.number(grade)) if self.graded else None,
        )
        return self._pair(sample_id, side) if self.family == "judge-accuracy" else side

    def _prompt(self, values: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
        own = files.shown(detail.get("prompt"))
        if self.family == "mt-bench" and detail.get("turn") == 2:
            first = _detail(self.rows.get(f"{values.get('cluster')}/1", {})).get("prompt")
            return f"[Turn 1]\n{files.shown(first)}\n\n[Turn 2]\n{own}"
        return own or self._embedded(values)

    def _embedded(self, values: Mapping[str, Any]) -> str:
        return embedded_prompts().get(str(values.get("cluster")), "") if self.family == "quality" else ""

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
        rows = [self.rows.get(i) for i in _judged_by_itself(sample_id)]
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


def _judged_by_itself(pair: str) -> list[str]:
    """The rows of a pair's two responses.

    >>> _judged_by_itself("pair/oasst-7/0-2")
    ['response/oasst-7/0', 'response/oasst-7/2']
    """
    cluster, _, numbers = pair.removeprefix("pair/").rpartition("/")
    return [f"response/{cluster}/{n}" for n in numbers.split("-")]


def _keys(sample_id: str) -> tuple[str, str]:
    """What the answer of a row may be called."""
    return sample_id, f"{sample_id}/0"


def _key(prefix: str, answer: Mapping[str, Any]) -> str:
    return f"{prefix}{answer.get('prompt_id')}/{answer.get('index')}"


def _digest(*parts: bytes) -> bytes:
    """Of some texts or digests, in this order; empty where all of them are."""
    if not any(parts):
        return b""
    sizes = ",".join(map(str, map(len, parts))).encode()
    return hashlib.blake2b(b"\0".join((sizes, *parts)), digest_size=16).digest()


def _bytes(text: object) -> bytes:
    return text.encode(errors="surrogatepass") if isinstance(text, str) else b""


def _better(value: float | None, scores: Sequence[float | None]) -> int | None:
    """Which of two was ranked higher: the one the judge preferred, if that was right, else the other."""
    a, b = scores
    if a is None or b is None or a == b or value not in (0, 1):
        return None
    return int((a > b) != (value == 1))


def _beside(detail: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, label in _BESIDE:
        if text := files.shown(detail.get(key)):
            yield label, text
    for k, text in enumerate(_texts(detail.get("responses")), 1):
        yield f"Response {k}", files.shown(text)


def _flags(measures: Mapping[str, Any], reason: str, *, cut: bool) -> int:
    truncated = cut or "truncated" in reason or any(measures.get(n) == 1 for n in measures if _is_truncation(n))
    disagreeing = 0 in (measures.get("order_agreement"), measures.get("consistency"))
    return TRUNCATED * truncated | UNPARSED * _is_lost(measures, reason) | DISAGREEING * disagreeing


def _is_lost(measures: Mapping[str, Any], reason: object) -> bool:
    """Whether a verdict or an answer could not be read."""
    if isinstance(reason, str) and reason in _UNREAD:
        return True
    return any(files.number(v) for n, v in measures.items() if n == "parse_failures" or n.endswith("/no_answer"))


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
    own = detail.get("category") or detail.get("task")
    if isinstance(own, str) and own:
        return _short(own)
    parts = (n.partition("/") for n in _mapping(detail.get("measures")))
    return next((_short(part) for whole, _, part in parts if whole == metric and part), "")


@lru_cache(maxsize=4096)
def _short(name: str) -> str:
    """As the page shows it; few, of many rows."""
    return files.name(name)


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
