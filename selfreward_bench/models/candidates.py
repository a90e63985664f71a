"""What ``srbench eval --checkpoint`` takes: which model, or which finished files, a text names. Nothing is loaded here.

    directory    ./models/mine                              a checkpoint in Hugging Face layout
    run-model    runs/first:M2, runs/first/M2/checkpoint    a model of a run
    hub          owner/name, owner/name@revision            a model of the Hugging Face hub, where no such path is
    served       openai:NAME@URL, openai:NAME@URL#VARIABLE  a model behind an OpenAI-compatible server
    finished     model_outputs.json, answers/               files in the formats of AlpacaEval, FastChat or lm-eval
                 gpt-4_single.jsonl:MODEL                   one model of such a file that holds several

Whether finished files are in such a format, and whether a model can be loaded, is found out by those who open them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Final, Literal

from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.sources.hub import is_hub_name
from selfreward_bench.sources.rows import SUFFIXES, iterate_rows
from selfreward_bench.storage.files import os_errors

__all__ = ["Candidate", "Kind", "choose_model", "parse_candidate", "parse_candidates"]

Kind = Literal["directory", "run-model", "hub", "served", "finished"]

SERVED: Final = "openai:"
FORMS: Final = (
    "a checkpoint's directory, RUN:MODEL, the hub's OWNER/NAME[@REVISION], openai:NAME@URL, or finished files "
    "(FILE or FILE:MODEL)"
)

_RUN_FILE: Final = "srbench.yaml"
_MODEL: Final = re.compile(r"M\d+|SFT")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_OF_FILE: Final = re.compile(r"(.+?\.(?:jsonl?|csv|tsv)(?:\.gz)?):(.+)", re.DOTALL)
_FINISHED: Final = SUFFIXES
_WEIGHTS: Final = ("config.json", "adapter_config.json", "*.safetensors", "pytorch_model*.bin")
_UNTOLD: Final = re.compile(
    r"model_outputs|results?(_.*)?|answers|checkpoint|annotations|example"
)  # names that tell no model
_NAMED_BY: Final = ("generator_2", "model_id", "model", "generator", "model_1")  # columns that tell whose a file is
_DATED: Final = re.compile(r"_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?$")  # as lm-eval names files
_MAX_NAME: Final = 100  # characters; a name becomes a folder's
_MAX_ENTRIES: Final = 10_000  # of a directory that are looked at
_SHOWN: Final = 200  # characters of a text in a message


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model, or its finished outputs, to be evaluated.

    Attributes:
        name: for results and tables; can be a folder's name.
        text: what the user gave; of a served model in its usual form.
        path: of the weights or files, None where the model is elsewhere. It need not exist for a model of a run.
        run: the run's directory; None for all but models of runs.
        model: of a run, such as ``M2``; of a file, as the file calls it; None where none is named.
        hub: what the hub calls it, maybe with a revision; None for all but its models.
    """

    kind: Kind
    name: str
    text: str
    path: Path | None = None
    run: Path | None = None
    model: str | None = None
    hub: str | None = None


def parse_candidates(texts: Iterable[str]) -> list[Candidate]:
    """What the texts name, in their order, each once and with a name of its own: a second ``M2`` becomes ``M2-2``.

    Finished files that would have one name are called after the folders that tell them apart.

    Raises:
        ConfigError, DataError, IncompatibleRunError: as ``parse_candidate``.
    """
    found: dict[object, Candidate] = {}
    for text in texts:
        candidate = parse_candidate(text)
        place = candidate.path.resolve() if candidate.path else candidate.hub or candidate.text
        found.setdefault((place, candidate.model if candidate.kind == "finished" else None), candidate)
    taken: set[str] = set()
    named = []
    for candidate in _told_apart(list(found.values())):
        names = chain([candidate.name], (f"{candidate.name}-{n}" for n in count(2)))
        name = next(n for n in names if n.casefold() not in taken)  # some file systems know no upper case
        taken.add(name.casefold())
        named.append(replace(candidate, name=name))
    return named


def _told_apart(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """With names from folders for finished files that would have one and the same."""
    for candidate in candidates:
        alike = [c for c in candidates if c.kind == "finished" and c.name.casefold() == candidate.name.casefold()]
        paths = [c.path.resolve().parts for c in alike if c.path and not c.model]
        yield candidate if candidate not in alike or len(paths) < 2 else _after_folder(candidate, paths)


def _after_folder(candidate: Candidate, paths: Sequence[tuple[str, ...]]) -> Candidate:
    """The nearest folder whose name no other one shares; as it is where none differs."""
    own = candidate.path.resolve().parts if candidate.path else ()
    for up in range(2, min(map(len, paths)) + 1):
        names = [_name(parts[-up]) for parts in paths]
        if len({name.casefold() for name in names}) == len(names) and own:
            return replace(candidate, name=_name(own[-up]))
    return candidate


def parse_candidate(text: str) -> Candidate:
    """What one text names.

    >>> parse_candidate("runs/first:M2").name
    'M2'
    >>> parse_candidate("openai:org/model@http://localhost:8000/v1").name
    'model'

    Raises:
        ConfigError: it has none of the forms above.
        DataError: it names a file or directory that is not there or cannot be a candidate.
        IncompatibleRunError: it names the base (``M0``) of what is no run.
    """
    if found := _of_file(text):
        path, model = found
        return Candidate("finished", _name(model), text, path, model=model)
    if text.startswith(SERVED) or re.search(r"@https?://", text):
        return _served(text)
    if of_run := _of_run(text):
        return _run_model(text, *of_run)
    path = Path(text)
    with os_errors(Path(_shown(text)), "read"):
        if text.strip() and path.is_dir():
            return _directory(text, path)
        if path.is_file():
            return _file(text, path)
    if is_hub_name(text) and not text.endswith(_FINISHED):
        return Candidate("hub", _name_there(text), text, hub=text)
    raise _no_candidate(text)


def _of_file(text: str) -> tuple[Path, str] | None:
    """The finished file and the model in it that ``FILE:MODEL`` names; the model's name may have any characters."""
    if text.startswith(SERVED) or not (named := _OF_FILE.fullmatch(text)):
        return None
    with os_errors(Path(_shown(text)), "read"):
        return (Path(named[1]), named[2]) if Path(named[1]).is_file() and not Path(text).exists() else None


def _served(text: str) -> Candidate:
    from selfreward_bench.engines.served.protocol import parse_spec

    if not text.startswith(SERVED):  # the text is not shown, as it may hold a key
        raise ConfigError("A served model is named openai:NAME@URL; `openai:` is missing in front.")
    spec = parse_spec(text.removeprefix(SERVED))
    variable = f"#{spec.key_variable}" if spec.key_variable else ""
    return Candidate("served", _name(spec.model.rpartition("/")[2]), spec.name + variable)


def _of_run(text: str) -> tuple[Path, str] | None:
    """The run and the model that ``RUN:MODEL``, ``RUN/MODEL`` or ``RUN/MODEL/checkpoint`` names."""
    run, colon, model = text.rpartition(":")
    if colon and run and _MODEL.fullmatch(model):
        return Path(run), model
    path = Path(text)
    folder = path.parent if path.name == "checkpoint" else path
    with os_errors(Path(_shown(text)), "read"):
        if _MODEL.fullmatch(folder.name) and (folder.parent / _RUN_FILE).is_file():
            return folder.parent, folder.name
    return None


def _run_model(text: str, run: Path, model: str) -> Candidate:
    path, hub = _base(run) if model == "M0" else (run / model / "checkpoint", None)
    return Candidate("run-model", model, text, path, run, model, hub)


def _base(run: Path) -> tuple[Path | None, str | None]:
    """The model that a run began with: its directory, or what the hub calls it."""
    from selfreward_bench.micro import base_path
    from selfreward_bench.storage.rundir import RunDir

    base = RunDir.open(run).config.base
    if base == "micro":
        return base_path(), None
    return (None, base) if is_hub_name(base) and not Path(base).is_dir() else (Path(base), None)


def _directory(text: str, path: Path) -> Candidate:
    if (path / _RUN_FILE).is_file():
        raise ConfigError(f"{_shown(text)} is a run. Name a model of it, as {_shown(text)}:M1, or take --run for all.")
    if any(True for pattern in _WEIGHTS for _ in path.glob(pattern)):
        return Candidate("directory", _name_of(path), text, path)
    if any(file.name.endswith(_FINISHED) and file.is_file() for file in _entries(path)):
        return Candidate("finished", _name_of(path), text, path)
    raise DataError(
        f"{_shown(text)} holds neither a checkpoint (config.json and *.safetensors) nor finished files "
        f"({', '.join(_FINISHED)}). Give {FORMS}."
    )


def _entries(path: Path) -> Iterator[Path]:
    """What is in a directory, and in its directories (lm-eval makes one for each model)."""
    entries = list(islice(path.iterdir(), _MAX_ENTRIES))
    deeper = (entry for folder in entries if folder.is_dir() for entry in folder.iterdir())
    return chain(entries, islice(deeper, _MAX_ENTRIES))


def _file(text: str, path: Path) -> Candidate:
    if path.name.endswith(_FINISHED):
        return Candidate("finished", _named_in(path) or _name_of(path), text, path)
    raise DataError(
        f"{_shown(text)} is a file, but not one with finished outputs ({', '.join(_FINISHED)}). Of a checkpoint, give "
        "the directory."
    )


def _named_in(path: Path) -> str:
    """The one model whose a file says that it is; empty where it says none, or several."""
    names: dict[str, set[str]] = {}
    try:
        for row in iterate_rows(path):
            for column in _NAMED_BY:
                if isinstance(value := row.values.get(column), str) and value.strip():
                    names.setdefault(column, set()).add(value)
    except DataError:  # told by those who open it
        return ""
    told = next((names[column] for column in _NAMED_BY if column in names), set())
    name = _name(told.pop().rstrip("/").rpartition("/")[2]) if len(told) == 1 else ""
    return "" if _UNTOLD.fullmatch(name) else name


def _name_of(path: Path) -> str:
    """A path's own name, or that of the first directory above that tells a model.

    >>> _name_of(Path("results/claude-2/weighted_alpaca_eval_gpt4_turbo/annotations.json"))
    'claude-2'
    """
    given = path if path.name not in ("", "..") else path.resolve()
    own = _DATED.sub("", re.sub(r"\.(jsonl?|csv|tsv)(\.gz)?$", "", given.name))
    above = [parent.name for parent in given.parents if parent.name]
    if "evaluators" in given.parts[:-2] and _UNTOLD.fullmatch(own):  # LLMBar's: evaluators/JUDGE/PROMPT/result.json
        return _name("-".join(given.parts[given.parts.index("evaluators") + 1 : -1]))
    if own == "annotations":
        above = above[1:] or above  # AlpacaEval keeps them in a folder named after the annotator
    told = (name for name in [own, *above[:3]] if not _UNTOLD.fullmatch(name))
    return _name(next(told, own))


def _name_there(text: str) -> str:
    """The name of a model of the hub, with its revision where one is given.

    >>> _name_there("me/mine"), _name_there("me/mine@v1.0")
    ('mine', 'mine-v1.0')
    """
    model, _, revision = text.partition("@")
    own = model.rpartition("/")[2]
    return _name(f"{own}-{revision[:7] if _COMMIT.fullmatch(revision) else revision}")


def _name(text: str) -> str:
    """As a folder can be called."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:_MAX_NAME] or "model"


def _no_candidate(text: str) -> ConfigError | DataError:
    run, colon, model = text.rpartition(":")
    if colon and (Path(run) / _RUN_FILE).is_file():
        there = sorted({"M0", *(path.name for path in Path(run).iterdir() if _MODEL.fullmatch(path.name))})
        return ConfigError(f"{model[:_SHOWN]!r} is no model of {run}. There are: {', '.join(there)}.")
    if named := _OF_FILE.fullmatch(text):
        text = named[1]
    if "/" in text or text.endswith(_FINISHED) or text.startswith((".", "~")):
        return DataError(f"{_shown(text)} is not there. Give {FORMS}.")
    return ConfigError(f"{_shown(text)!r} names no model. Give {FORMS}.")


def _shown(text: str) -> str:
    """A text for a message, without what may be a key."""
    return (text.partition("#")[0].partition("?")[0] or text[:1])[:_SHOWN]


def choose_model(path: Path, models: Iterable[str], wanted: str | None, *, exact: bool = False) -> str:
    """Which model of a file that holds several: ``wanted``; without ``exact`` also the one that there is.

    Raises:
        DataError: it is not there, or there are several; which there are, the message tells.
    """
    names = sorted(set(models))
    if wanted in names:
        return str(wanted)
    if len(names) == 1 and not exact:
        return names[0]
    held = "1 model" if len(names) == 1 else f"{len(names)} models"
    told = "" if wanted is None else f" and none is called {wanted!r}"
    raise DataError(
        f"{path} holds {held}{told}. Name one of them, as --checkpoint {path}:MODEL, or keep the lines of one. There "
        f"are: {', '.join(n[:100] for n in names[:40])}."
    )
