"""From the files of the data directory to the documents that lm-eval's task definitions read; the micro-world's too.

ARC, OpenBookQA, PIQA and SIQA come with their choices inside an instruction text: they are taken apart strictly, and a
row that cannot be is named, counted and left unscored. Nothing here knows lm-eval or a model.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from selfreward_bench.errors import DataError
from selfreward_bench.micro import data_path, world
from selfreward_bench.micro.families import Fact, Sort
from selfreward_bench.micro.lexicon import ATTRIBUTES, NOUNS, THINGS
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage import jsonl
from selfreward_bench.types import ChoiceQuestion

__all__ = ["SOURCES", "Documents", "Unreadable", "files_of", "micro_documents", "read_documents"]

Doc = dict[str, Any]
MICRO_SORTS: Final = 128


@dataclass(frozen=True)
class Unreadable:
    """A row that is not scored.

    Attributes:
        place: ``FILE row N``, rows counted from 1.
    """

    place: str
    why: str


@dataclass(frozen=True)
class Documents:
    """What one task is made from.

    Attributes:
        scored: documents to be answered, in the file's order.
        shots: what worked examples are drawn from; none of them is among ``scored``.
        unreadable: rows of the scored file that could not be read.
    """

    scored: tuple[Doc, ...]
    shots: tuple[Doc, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class _Part:
    """Rows of a file.

    Attributes:
        path: relative to the data directory; ``{}`` stands for the subject.
        section: the key that holds the rows, where the file is one JSON object.
    """

    path: str
    section: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a task's rows are, and how one becomes a document whose first field is its question.

    Attributes:
        shots: None where no worked examples come from a file.
    """

    scored: _Part
    parse: Callable[[Any], Doc]
    shots: _Part | None = None


def files_of(task: str, subjects: Iterable[str] = ("",)) -> list[str]:
    """The files a task of ``SOURCES`` reads, relative to the data directory."""
    parts = (SOURCES[task].scored, SOURCES[task].shots)
    return sorted({p.path.format(s) for p in parts if p is not None for s in subjects})


def read_documents(data: DataDir, task: str, *, subject: str = "", limit: int | None = None) -> Documents:
    """The documents of a task of ``SOURCES``.

    Args:
        subject: of MMLU, such as ``anatomy``.
        limit: the first so many rows; all where None.

    Raises:
        DataError: a file is not there or holds no rows.
    """
    source = SOURCES[task]
    rows, bad = _parse(data, source.scored, subject, source.parse)
    pool = _parse(data, source.shots, subject, source.parse)[0] if source.shots else {}
    asked = {_question(doc) for doc in rows.values()}  # of the whole file: a smaller limit must not change the examples
    kept = range(1, limit + 1) if limit else None
    return Documents(
        scored=tuple(doc for number, doc in rows.items() if kept is None or number in kept),
        shots=tuple(doc for doc in pool.values() if _question(doc) not in asked),
        unreadable=tuple(u for number, u in bad.items() if kept is None or number in kept),
    )


def _question(doc: Doc) -> str:
    return " ".join(str(next(iter(doc.values()))).split())


def _parse(
    data: DataDir, part: _Part, subject: str, parse: Callable[[Any], Doc]
) -> tuple[dict[int, Doc], dict[int, Unreadable]]:
    path = part.path.format(subject)
    docs: dict[int, Doc] = {}
    bad: dict[int, Unreadable] = {}
    for number, row in enumerate(_rows(data, path, part.section), 1):
        try:
            doc = parse(row() if callable(row) else row)
            json.dumps(doc, ensure_ascii=False).encode()  # half a character cannot be written down
            docs[number] = doc
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            why = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
            bad[number] = Unreadable(f"{path} row {number}", why[:200])
    if not docs:
        found = f"{len(bad)} rows, none readable; {bad[1].place}: {bad[1].why}" if bad else "no rows"
        raise DataError(f"{data.path(path)} holds {found}. Get the benchmark data again.")
    return docs, bad


def _rows(data: DataDir, path: str, section: str | None) -> Iterator[Any]:
    """Rows of a JSON list, JSONL or CSV; a line of JSONL comes as a function, so that a broken one is one row."""
    text = data.text(path)
    if path.endswith(".csv"):
        try:
            yield from csv.DictReader(text, strict=True)
        except csv.Error as error:
            raise DataError(f"{data.path(path)} is not valid CSV ({error}). Get the benchmark data again.") from error
    elif path.endswith(".jsonl"):
        yield from (lambda line=line: json.loads(line) for line in text if line.strip())
    else:
        try:
            content = json.load(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{data.path(path)} is not valid JSON ({error}). Get the benchmark data again.") from error
        rows = content.get(section) if section and isinstance(content, dict) else content
        if not isinstance(rows, list):
            raise DataError(f"{data.path(path)} holds no list of rows. Get the benchmark data again.")
        yield from rows


# --- one row


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"field {field!r} must be a text, not {str(value)[:40]!r}")
    return value


_INSTRUCTION: Final = re.compile(
    r"Please choose the correct (?:answer|solution) to the question: (?P<question>.+?)\n\n"
    r"(?P<choices>(?P<label>Answer|Solution)1:.+)\n\nAnswer format: (?P<labels>\S+)\s*",
    re.DOTALL,
)


def _instruction(row: Mapping[str, Any]) -> tuple[str, list[str], int]:
    """Question, choices and the right one's index of a row that tells the choices inside its instruction.

    ``... question: Q?\\n\\nAnswer1: a Answer2: b\\n\\nAnswer format: answer1/answer2`` -> ``("Q?", ["a", "b"], i)``

    Raises:
        ValueError: the instruction is of another form, or names other choices than it holds.
    """
    found = _INSTRUCTION.fullmatch(_text(row, "instruction"))
    if not found:
        raise ValueError("the instruction is not of the known form")
    label, labels = found["label"], found["labels"].split("/")
    pieces = re.split(rf"({label}\d+):", found["choices"])
    if labels != [f"{label.lower()}{k}" for k in range(1, len(labels) + 1)] or labels != [
        p.lower() for p in pieces[1::2]
    ]:
        raise ValueError(f"the choices {pieces[1::2]} are not those of the answer format {labels}")
    choices = [p.strip() for p in pieces[2::2]]
    answer = _text(row, "answer")
    if not all(choices) or answer not in labels:
        raise ValueError(f"a choice is empty, or the answer {answer[:40]!r} is none of {labels}")
    return found["question"].strip(), choices, labels.index(answer)


def _arc(row: Any) -> Doc:
    question, choices, right = _instruction(row)
    labels = [chr(ord("A") + k) for k in range(len(choices))]
    return {"question": question, "choices": {"text": choices, "label": labels}, "answerKey": labels[right]}


def _openbookqa(row: Any) -> Doc:
    doc = _arc(row)
    return {"question_stem": doc.pop("question"), **doc}


def _piqa(row: Any) -> Doc:
    goal, (first, second), right = _instruction(row)
    return {"goal": goal, "sol1": first, "sol2": second, "label": right}


def _siqa(row: Any) -> Doc:
    question, (a, b, c), right = _instruction(row)
    return {"question": question, "answerA": a, "answerB": b, "answerC": c, "label": str(right + 1)}


def _hellaswag(row: Any) -> Doc:
    """Brackets are leftovers of WikiHow's pages: ``[title]`` ends a sentence, the others go, as lm-eval does it."""

    def clean(text: str) -> str:
        return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")

    choices = row["choices"]
    if sorted(choices) != ["A", "B", "C", "D"] or row["answer"] not in choices:
        raise ValueError(f"choices {sorted(choices)}, answer {str(row['answer'])[:40]!r}")
    endings = [clean(_text(choices, key)) for key in sorted(choices)]
    return {"query": clean(_text(row, "question")), "choices": endings, "label": str("ABCD".index(row["answer"]))}


def _gsm8k(row: Any) -> Doc:
    answer = _text(row, "answer")
    if not re.search(r"#### *-?[\d.,]+\s*$", answer):
        raise ValueError("the answer does not end with '#### NUMBER'")
    return {"question": _text(row, "question"), "answer": answer}


def _mmlu(row: Any) -> Doc:
    if row["answer"] not in ("0", "1", "2", "3") or None in row:
        raise ValueError(f"the answer {str(row['answer'])[:40]!r} is no index, or there are too many fields")
    choices = [_text(row, f"choice{k}") for k in range(4)]
    return {"question": _text(row, "question"), "choices": choices, "answer": int(row["answer"])}


def _nq_open(row: Any) -> Doc:
    answers = row["answer"]
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a for a in answers):
        raise ValueError("field 'answer' must be a list of texts")
    return {"question": _text(row, "question"), "answer": answers}


_COMMONSENSE: Final = "nlp/commonsense"

SOURCES: Final[Mapping[str, Source]] = {
    "arc_easy": Source(_Part(f"{_COMMONSENSE}/ARC-Easy/test.json"), _arc),
    "arc_challenge": Source(
        _Part(f"{_COMMONSENSE}/ARC-Challenge/test.json"), _arc, _Part(f"{_COMMONSENSE}/ARC-Challenge/train.json")
    ),
    "hellaswag": Source(
        _Part("nlp/hellaswag/hellaswag.json", "test"), _hellaswag, _Part("nlp/hellaswag/hellaswag.json", "dev")
    ),
    "siqa": Source(_Part(f"{_COMMONSENSE}/social_i_qa/test.json"), _siqa),
    "piqa": Source(_Part(f"{_COMMONSENSE}/piqa/test.json"), _piqa),
    "gsm8k": Source(_Part("nlp/gsm8k/test.jsonl"), _gsm8k),
    "mmlu": Source(_Part("nlp/mmlu/test/{}_test.csv"), _mmlu, _Part("nlp/mmlu/dev/{}_dev.csv")),
    "openbookqa": Source(_Part(f"{_COMMONSENSE}/openbookqa/test.json"), _openbookqa),
    "nq_open": Source(
        _Part("nlp/nq_open/NQ-open.dev.jsonl"), _nq_open, _Part("nlp/nq_open/NQ-open.efficientqa.dev.1.1.jsonl")
    ),
}


# --- the micro-world


def micro_documents(task: str, split: world.Split, limit: int | None = None) -> Documents:
    """The documents of a task of the embedded world.

    Args:
        task: ``micro_choice`` (the embedded multiple-choice questions), ``micro_sort`` or ``micro_fact`` (prompts with
            one right answer, made here from the split's tasks).
    """
    if task == "micro_choice":
        return Documents(tuple(_micro_choice()[:limit]))
    make = {"micro_sort": _micro_sort, "micro_fact": _micro_fact}[task]
    return Documents(tuple(make(split)[:limit]))


def _micro_choice() -> Sequence[Doc]:
    questions = jsonl.read(data_path("choices"), ChoiceQuestion, unique=lambda q: q.id)
    return [{"question": q.question, "choices": list(q.choices), "answer": q.answer} for q in questions]


def _micro_sort(split: world.Split) -> Sequence[Doc]:
    rng, found = random.Random(0), dict[Sort, Doc]()
    while len(found) < MICRO_SORTS:
        task = Sort.draw(rng)
        if world.split_of(task) == split:
            found.setdefault(task, {"question": rng.choice(task.wordings()), "answer": task.perfect(rng)})
    return list(found.values())


def _micro_fact(split: world.Split) -> Sequence[Doc]:
    tasks = (Fact(noun, attribute) for noun in NOUNS for attribute in ATTRIBUTES)
    return [
        {"question": task.wordings()[0], "answer": THINGS[task.noun][task.attribute]}
        for task in tasks
        if world.split_of(task) == split
    ]
