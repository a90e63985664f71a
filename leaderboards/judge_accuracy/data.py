"""Human judgments as ranked responses: Open Assistant trees, LLMBar, PandaLM, any JSONL; and others' stored verdicts.

Each adapter gives the same records (``RankedPrompt``), so that one benchmark serves them all; a pair is a prompt with
two responses, a tie two equal ranks. Stored verdicts become ``Judgment`` records of pairs, joined by id or content.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from selfreward_bench.errors import DataError
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.sources.oasst import read_trees
from selfreward_bench.sources.rows import SUFFIXES, decode, first_row
from selfreward_bench.storage.rundir import hash_file
from selfreward_bench.types import Judgment, Message, RankedPrompt, RankedResponse, Record

__all__ = [
    "LLMBAR",
    "LLMBAR_PROCESSED",
    "JudgeData",
    "is_llmbar_processed_results",
    "is_llmbar_results",
    "is_pandalm_results",
    "llmbar",
    "llmbar_results",
    "oasst",
    "pandalm",
    "pandalm_results",
    "ranked_jsonl",
    "stored_files",
]

#: subset -> its file
LLMBAR: Final = {
    "Natural": "llmbar/LLMBar/Natural/dataset.json",
    **{s: f"llmbar/LLMBar/Adversarial/{s}/dataset.json" for s in ("Neighbor", "GPTInst", "GPTOut", "Manual")},
}
LLMBAR_PROCESSED: Final = {s: f"llmbar/Processed/{s}/dataset.json" for s in ("FairEval", "MT-Bench")}
PANDALM: Final = "pandalm/testset-v1.json"
_ANNOTATORS: Final = 3
_PROCESSED_FOLDERS: Final = frozenset({"Processed", "FairEval", "MT-Bench", "LLMEval^2"})


@dataclass(frozen=True)
class JudgeData:
    """Ranked responses and what belongs to them.

    Attributes:
        pairs: whether every prompt has exactly two responses.
        three_way: whether people could say that a pair is tied.
        content_hash: of the files.
        annotators: each annotator's labels by prompt id (1 first, 0.5 tie, 0 second), where they are known.
    """

    prompts: tuple[RankedPrompt, ...]
    content_hash: str
    pairs: bool = False
    three_way: bool = False
    annotators: tuple[Mapping[str, float], ...] = field(default=())

    @property
    def categories(self) -> tuple[str, ...]:
        """In the order of the data."""
        return tuple(dict.fromkeys(p.category for p in self.prompts if p.category is not None))


# --- ranked responses


def oasst(data: DataDir, file: str) -> JudgeData:
    """English first turns of Open Assistant trees with at least two answers that people ranked differently.

    Raises:
        DataError: the file is not there, is no tree export, or holds no such prompt.
    """
    path = data.path(file)
    found: dict[str, RankedPrompt] = {}
    for tree in read_trees(path):
        if tree.usable and tree.is_ordered:
            found.setdefault(tree.message_tree_id, tree.ranked())
    if not found:
        raise DataError(f"{path}: holds no English first turn with ranked answers. Is it the tree export?")
    return JudgeData(tuple(found.values()), data.sha256(file))


class _Line(Record):
    """A ``RankedPrompt`` whose instruction may also be one text, ``prompt`` (docs/formats.md)."""

    id: str = Field(min_length=1)
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    responses: tuple[RankedResponse, ...] = Field(min_length=2)
    category: str | None = None

    @model_validator(mode="after")
    def _one_instruction(self) -> _Line:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give the instruction once, as 'prompt' or as 'messages'")
        return self

    def ranked(self) -> RankedPrompt:
        messages = self.messages or (Message(role="user", content=self.prompt or ""),)
        return RankedPrompt(id=self.id, messages=messages, responses=self.responses, category=self.category)


def ranked_jsonl(path: Path) -> JudgeData:
    """A file of ranked responses in the layout of ``docs/formats.md``.

    Raises:
        DataError: the file cannot be used; or no prompt in it has two responses of unlike rank, or a user's turn.
    """
    prompts = tuple(line.ranked() for line in decode(path, _Line))
    twice = [name for name, n in Counter(p.id for p in prompts).items() if n > 1]
    if twice:
        raise DataError(f"{path}: the id {twice[0][:100]!r} is there more than once. Ids must be unique.")
    silent = next((p.id for p in prompts if p.messages[-1].role != "user"), None)
    if silent is not None:
        raise DataError(f"{path}: {silent!r} does not end with a user's turn; it is the user's turn that is answered.")
    if not any(len({r.rank for r in p.responses}) > 1 for p in prompts):
        raise DataError(f"{path}: all responses have equal ranks. Rank 0 is the best; give worse ones higher ranks.")
    pairs = all(len(p.responses) == 2 for p in prompts)
    ties = any(len({r.rank for r in p.responses}) == 1 for p in prompts)
    return JudgeData(prompts, hash_file(path), pairs, three_way=pairs and ties)


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _LlmbarRow(_Row):
    input: str
    output_1: str
    output_2: str
    label: int

    @property
    def id(self) -> str:
        """Of the content: the files have no ids."""
        content = "\0".join((self.input, self.output_1, self.output_2))
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def llmbar(data: DataDir, files: Mapping[str, str] = LLMBAR) -> JudgeData:
    """LLMBar's pairs; ``label`` says which output people found better.

    Raises:
        DataError: a file is not there or has another form.
    """
    prompts: dict[str, RankedPrompt] = {}
    for subset, file in files.items():
        for r in decode(data.path(file), _LlmbarRow):
            if r.label not in (1, 2):
                raise DataError(f"{data.path(file)}: label {r.label} is neither 1 nor 2. Get the file again.")
            truth = 1.0 if r.label == 1 else 0.0
            prompts[r.id] = _pair(r.id, r.input, (r.output_1, r.output_2), truth, subset)
    return JudgeData(tuple(prompts.values()), _hash(data, files.values()), pairs=True)


def _text(value: object) -> object:
    return str(value) if isinstance(value, bool | int | float) else value  # the file has six times `true` for "True"


_Text = Annotated[str, BeforeValidator(_text)]


class _PandalmRow(_Row):
    idx: int
    instruction: _Text
    input: _Text = ""
    response1: _Text
    response2: _Text
    annotator1: int
    annotator2: int
    annotator3: int

    @property
    def labels(self) -> tuple[float, ...]:
        """The annotators' verdicts on the pair."""
        return tuple(_PANDALM_LABELS[str(a)] for a in (self.annotator1, self.annotator2, self.annotator3))


_PANDALM_LABELS: Final = {"1": 1.0, "2": 0.0, "0": 0.5, "tie": 0.5}


def pandalm(data: DataDir) -> JudgeData:
    """PandaLM's test set: pairs, three annotators' labels, the majority's as truth. Pairs without one are left out.

    Raises:
        DataError: the file is not there or has another form.
    """
    path = data.path(PANDALM)
    prompts: dict[str, RankedPrompt] = {}
    annotators: tuple[dict[str, float], ...] = tuple({} for _ in range(_ANNOTATORS))
    for r in decode(path, _PandalmRow):
        name = f"pandalm-{r.idx}"
        if not {r.annotator1, r.annotator2, r.annotator3} <= {0, 1, 2} or name in prompts:
            raise DataError(f"{path}: idx {r.idx} comes twice or has a label other than 0, 1, 2. Get the file again.")
        (truth, votes) = Counter(r.labels).most_common(1)[0]
        if votes * 2 <= _ANNOTATORS:
            continue
        instruction = f"{r.instruction}\n\n{r.input}" if r.input else r.instruction
        prompts[name] = _pair(name, instruction, (r.response1, r.response2), truth, None)
        for labels, label in zip(annotators, r.labels, strict=True):
            labels[name] = label
    return JudgeData(tuple(prompts.values()), data.sha256(PANDALM), True, True, annotators)


def _pair(name: str, text: str, responses: tuple[str, str], truth: float, category: str | None) -> RankedPrompt:
    ranks = (int(truth == 0), int(truth == 1))
    return RankedPrompt(
        id=name,
        messages=(Message(role="user", content=text),),
        responses=tuple(RankedResponse(text=t, rank=r) for t, r in zip(responses, ranks, strict=True)),
        category=category,
    )


# --- others' verdicts


class _Call(_Row):
    model_config = ConfigDict(extra="ignore", strict=True)  # `true` is no 1

    winner: str | int | None = None


class _LlmbarResult(_LlmbarRow):
    """What an evaluator did in turn: texts it asked for first, verdicts; the last one counts.

    So it is for every evaluator: metrics or a reference are asked for first, ``Swap`` asks again where the orders
    differ, ``Rating`` keeps both grades beside the verdict.
    """

    results: list[Any]


def is_llmbar_results(path: Path) -> bool:
    """Whether it is a ``result.json`` of LLMBar's evaluators, or a directory with such files, not of processed sets."""
    return _holds_results(path) and not _of_processed(path)


def is_llmbar_processed_results(path: Path) -> bool:
    """Whether it is such a file of the processed sets: their folders' names tell."""
    return _holds_results(path) and _of_processed(path)


def _holds_results(path: Path) -> bool:
    return any(_is_result(file) for file in stored_files(path)) if path.is_dir() else _is_result(path)


def _of_processed(path: Path) -> bool:
    """Whether the nearest folder that names a set names a processed one."""
    file = next(iter(stored_files(path)), path).resolve() if path.is_dir() else path.resolve()
    named = (
        p for p in reversed(file.parts) if p in _PROCESSED_FOLDERS or p in LLMBAR or p in ("LLMBar", "Adversarial")
    )
    return next(named, "") in _PROCESSED_FOLDERS


def _is_result(path: Path) -> bool:
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    first = first_row(path)
    made = first.get("results")
    last = made[-1] if isinstance(made, list) and made else None
    return "output_1" in first and isinstance(last, dict) and any(str(key).startswith("swap = ") for key in last)


def llmbar_results(path: Path, data: JudgeData) -> list[Judgment]:
    """A judge's verdicts on LLMBar in both orders: one ``result.json``, or a directory with one per subset.

    Rows are found in the data by their content. ``winner`` names the output as the data set numbers them, whichever was
    shown first.

    Raises:
        DataError: a file has another form, a pair that is not in the data, or one that was judged before.
    """
    known = {p.id for p in data.prompts}
    found: dict[str, Judgment] = {}
    for file in stored_files(path):
        for r in decode(file, _LlmbarResult):
            if r.id not in known:
                raise DataError(
                    f"{file}: a pair in it is not in the data set ({r.input[:60]!r}). Are both of LLMBar? Files of the "
                    "processed sets lie in a folder of that set's name (FairEval, MT-Bench)."
                )
            for order, call in _orders(file, r).items():
                judgment = _verdict(r.id, "llmbar-results", _winner(call.winner), str(call.winner), order)
                if judgment.id in found:
                    raise DataError(f"{path}: a pair is judged twice ({file}). Name the results of ONE evaluator.")
                found[judgment.id] = judgment
    return list(found.values())


def _orders(file: Path, r: _LlmbarResult) -> dict[str, _Call]:
    calls: Any = r.results[-1] if r.results else None  # whatever the file has there
    names = {"ab": "swap = False", "ba": "swap = True"}
    try:
        return {order: _Call.model_validate(calls[name]) for order, name in names.items()}
    except (TypeError, KeyError, ValidationError) as error:
        raise DataError(
            f"{file}: a row's 'results' do not end with a judgment in both orders, as LLMBar's evaluators write."
        ) from error


def _winner(value: str | int | None) -> float | None:
    return {"1": 1.0, "2": 0.0}.get(str(value))


def stored_files(path: Path) -> list[Path]:
    """The files that others' verdicts are read from: the file itself, or a directory's ``result.json``."""
    if not path.is_dir():
        return [path]
    return sorted(f for f in path.rglob("result.json*") if f.name in ("result.json", "result.json.gz"))


class _PandalmResult(_Row):
    model_config = ConfigDict(extra="allow")

    idx: int

    @model_validator(mode="after")
    def _one_judge(self) -> _PandalmResult:
        named = [key for key in self.model_extra or {} if key.endswith("_result")]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are the verdicts of several judges; keep one")
        return self

    @property
    def label(self) -> str:
        """The judge's verdict; its field is called ``NAME_result``. Numbers may be written as 1.0, as pandas does."""
        value = next((v for key, v in (self.model_extra or {}).items() if key.endswith("_result")), None)
        return f"{value:g}" if isinstance(value, float) else str(value)


def is_pandalm_results(path: Path) -> bool:
    """Whether it is a judge's stored verdicts on PandaLM's test set."""
    if not path.name.endswith(SUFFIXES) or not path.is_file():
        return False
    columns = set(first_row(path))
    return "idx" in columns and any(column.endswith("_result") for column in columns)


def pandalm_results(path: Path, data: JudgeData) -> list[Judgment]:
    """A judge's verdicts on PandaLM's test set, joined by ``idx``. What is no 1, 2, 0 or Tie is unreadable.

    Raises:
        DataError: the file has another form, the verdicts of several judges, or an ``idx`` twice.
    """
    known = {p.id for p in data.prompts}
    found: dict[str, Judgment] = {}
    for r in decode(path, _PandalmResult):
        name = f"pandalm-{r.idx}"
        if name in found:
            raise DataError(f"{path}: idx {r.idx} is there twice.")
        if name in known:
            score = _PANDALM_LABELS.get(r.label.strip().lower())
            found[name] = _verdict(name, "pandalm-results", score, r.label, "ab")
    return list(found.values())


def _verdict(prompt_id: str, judge: str, score: float | None, raw: str, order: str) -> Judgment:
    return Judgment.model_validate(
        {
            "prompt_id": prompt_id,
            "index": 0,
            "judge": judge,
            "score": score,
            "raw": raw[:200],
            "reason": None if score is not None else "no_verdict",
            "order": order,
        }
    )


# --- files


def _hash(data: DataDir, files: Iterable[str]) -> str:
    return hashlib.sha256("".join(data.sha256(file) for file in files).encode()).hexdigest()
