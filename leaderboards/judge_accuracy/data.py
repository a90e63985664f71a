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
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from selfreward_bench.errors import DataError
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.sources.oasst import read_trees
from selfreward_bench.sources.rows import decode
from selfreward_bench.storage.rundir import hash_file
from selfreward_bench.types import Message, RankedPrompt, RankedResponse, Record

__all__ = [
    "LLMBAR",
    "LLMBAR_PROCESSED",
    "JudgeData",
    "llmbar",
    "oasst",
    "pandalm",
    "ranked_jsonl",
]

#: subset -> its file
LLMBAR: Final = {
    "Natural": "llmbar/LLMBar/Natural/dataset.json",
    **{s: f"llmbar/LLMBar/Adversarial/{s}/dataset.json" for s in ("Neighbor", "GPTInst", "GPTOut", "Manual")},
}
LLMBAR_PROCESSED: Final = {s: f"llmbar/Processed/{s}/dataset.json" for s in ("FairEval", "MT-Bench")}
PANDALM: Final = "pandalm/testset-v1.json"
_ANNOTATORS: Final = 3


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


class Row(BaseModel):
    model_config = ConfigDict(extra="ignore")


class LlmbarRow(Row):
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
        for r in decode(data.path(file), LlmbarRow):
            if r.label not in (1, 2):
                raise DataError(f"{data.path(file)}: label {r.label} is neither 1 nor 2. Get the file again.")
            truth = 1.0 if r.label == 1 else 0.0
            prompts[r.id] = _pair(r.id, r.input, (r.output_1, r.output_2), truth, subset)
    return JudgeData(tuple(prompts.values()), _hash(data, files.values()), pairs=True)


def _text(value: object) -> object:
    return str(value) if isinstance(value, bool | int | float) else value  # the file has six times `true` for "True"


_Text = Annotated[str, BeforeValidator(_text)]


class _PandalmRow(Row):
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
        return tuple(PANDALM_LABELS[str(a)] for a in (self.annotator1, self.annotator2, self.annotator3))


PANDALM_LABELS: Final = {"1": 1.0, "2": 0.0, "0": 0.5, "tie": 0.5}


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


# --- files


def _hash(data: DataDir, files: Iterable[str]) -> str:
    return hashlib.sha256("".join(data.sha256(file) for file in files).encode()).hexdigest()
