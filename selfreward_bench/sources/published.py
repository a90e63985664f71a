"""Where the real benchmark files come from: address, size, sha256 and licence of each. Facts only; no data is in here.

The files are rows of the packaged ``data/sources.csv``. Every address names a revision that cannot change. The layout
below the data directory follows that of the origins. What only serves to verify srbench itself (other models' answers,
annotations and judgments) is marked ``verification`` and is no part of a set's usual download.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from selfreward_bench.errors import UnknownNameError

__all__ = ["DataFile", "DataSet", "select", "set_of", "sets"]


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file as it is published.

    Attributes:
        path: below the data directory, with slashes.
        url: of exactly these bytes.
        size: bytes.
        sha256: hex.
        verification: other people's answers, annotations or judgments, which no benchmark reads.
    """

    path: str
    url: str
    size: int
    sha256: str
    verification: bool = False

    @property
    def source(self) -> str:
        """The repository and its revision, for people.

        >>> DataFile("a", "https://raw.githubusercontent.com/me/mine/0123456789/a", 1, "").source
        'github.com/me/mine@0123456'
        """
        host, *parts = self.url.partition("://")[2].split("/")
        if host == "raw.githubusercontent.com":
            owner, name, revision = parts[:3]
            return f"github.com/{owner}/{name}@{revision[:7]}"
        if host == "huggingface.co" and parts[0] == "datasets":
            _, owner, name, _, revision = parts[:5]
            return f"{host}/datasets/{owner}/{name}@{revision[:7]}"
        return host


@dataclass(frozen=True, slots=True)
class DataSet:
    """Files that are got together.

    Attributes:
        name: as the user types it; ``GROUP/PART`` for the parts of a group.
        folder: below the data directory.
        holds: what is in it, in one line.
        licence: of the data.
        commercial: False where the licence, or a part of it, excludes commercial use.
        files: in the order in which they are got.
    """

    name: str
    folder: str
    holds: str
    licence: str
    commercial: bool
    files: tuple[DataFile, ...]

    def wanted(self, verification: bool = False) -> tuple[DataFile, ...]:
        """The files that benchmarks read; with ``verification`` all."""
        return tuple(file for file in self.files if verification or not file.verification)

    @property
    def sources(self) -> tuple[str, ...]:
        """The repositories, each once."""
        return tuple(dict.fromkeys(file.source for file in self.files))


_NC: Final = "CC BY-NC 4.0"
_ADAPTED: Final = f"{_NC} as distributed; the questions are"

#: name, folder, what it holds, licence, commercial use; in the order in which they are shown
_SETS: Final[tuple[tuple[str, str, str, str, bool], ...]] = (
    ("alpaca-eval", "alpaca_eval", "805 instructions, GPT-4-Turbo answers, length control, leaderboard", _NC, False),
    ("mt-bench", "mt_bench", "80 questions of two turns, GPT-4 references, judge prompts", "Apache-2.0", True),
    ("llmbar", "llmbar", "419 pairs with gold labels, 266 pairs with human preferences", "MIT", True),
    ("pandalm", "pandalm", "999 pairs, each labelled by three people", "Apache-2.0", True),
    ("oasst", "oasst", "100 English trees of ranked messages", "Apache-2.0", True),
    ("nlp/arc", "nlp/commonsense", "ARC-Easy and ARC-Challenge, test and train", f"{_ADAPTED} CC BY-SA 4.0", False),
    (
        "nlp/hellaswag",
        "nlp/hellaswag",
        "a subset of HellaSwag: 1,000 questions",
        "MIT; none is stated for this subset",
        True,
    ),
    ("nlp/siqa", "nlp/commonsense", "Social IQa, 1,954 questions", f"{_ADAPTED} CC BY 4.0", False),
    ("nlp/piqa", "nlp/commonsense", "PIQA, 1,838 questions", f"{_ADAPTED} AFL-3.0", False),
    ("nlp/gsm8k", "nlp/gsm8k", "GSM8K, 1,319 problems", "MIT", True),
    ("nlp/mmlu", "nlp/mmlu", "MMLU, 57 subjects: 14,042 questions, 285 examples", "MIT", True),
    ("nlp/openbookqa", "nlp/commonsense", "OpenBookQA, test and train", f"{_ADAPTED} Apache-2.0", False),
    ("nlp/nq", "nlp/nq_open", "NQ-open, 3,610 questions; examples from EfficientQA", "CC BY-SA 3.0", True),
    (
        "instructions",
        "instructions",
        "175 seed tasks, 252 user-oriented instructions",
        f"{_NC} (seed tasks), Apache-2.0 (instructions)",
        False,
    ),
    ("ifeval", "ifeval", "541 prompts whose demands a program can check", "Apache-2.0", True),
)


@cache
def sets() -> dict[str, DataSet]:
    """Name -> set, in the order in which they are shown."""
    with (resources.files("selfreward_bench") / "data" / "sources.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    files: dict[str, list[DataFile]] = {name: [] for name, *_ in _SETS}
    for row in rows:
        is_extra = row["use"] == "verification"
        files[row["set"]].append(DataFile(row["path"], row["url"], int(row["size"]), row["sha256"], is_extra))
    return {
        name: DataSet(name, folder, holds, licence, commercial, tuple(files[name]))
        for name, folder, holds, licence, commercial in _SETS
    }


def select(names: Iterable[str]) -> tuple[DataSet, ...]:
    """The sets of these names, each once; the name of a group stands for all its parts.

    Raises:
        UnknownNameError: there is no such set.
    """
    found: dict[str, DataSet] = {}
    for name in names:
        members = {data.name: data for data in sets().values() if name in (data.name, _group(data.name))}
        if not members:
            raise UnknownNameError("data set", name, {*sets(), *map(_group, sets())})
        found |= members
    return tuple(found.values())


def set_of(path: str) -> tuple[DataSet, DataFile] | None:
    """The first set that has the file, and the file; None for a path that is in no set."""
    return next(((data, file) for data in sets().values() for file in data.files if file.path == path), None)


def _group(name: str) -> str:
    return name.partition("/")[0]
