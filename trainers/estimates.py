"""How long a unit of work takes, and how many tokens: per unit for each kind of stage, and where that is known from.

First the run's own finished stages; then runs beside it with the same base and engine; for the embedded base last what
was measured for it (perf/RESULTS.md). Nothing else is guessed: for another model the first run tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from selfreward_bench.errors import SrbenchError
from selfreward_bench.storage.rundir import RunDir
from trainers.contests import ANSWERS
from trainers.rehearsal import most_asked
from trainers.roles import helped

__all__ = ["Rate", "rates", "token_counts"]

#: of the embedded base on one thread of the machine in perf/RESULTS.md: seconds per step and example of its batch, and
#: per prompt, answer and judgment (medians of five runs of the micro recipe)
_PER_EXAMPLE: Final = {"baseline": 0.0044, "sft": 0.0097, "dpo": 0.0140}
_PER_UNIT: Final = {"prompts": 0.0053, "candidates": 0.0018}
#: per judgment that is put together for a rehearsal, where nobody is asked for it; trained it takes as long as an
#: example of SFT
_PER_REHEARSED: Final = 0.0005
_PER_JUDGMENT: Final = {"reasoned": 0.0082}
#: a kind -> the one that tells where nothing of the kind itself does
_NEAREST: Final = {"sft": "baseline", "baseline": "sft"}
_MAX_NEIGHBOURS: Final = 50

OwnRates = Callable[[RunDir], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds (or tokens) per unit, and the source in words."""

    number: float
    source: str


def rates(run: RunDir, own: OwnRates) -> dict[str, Rate]:
    """Kind of stage -> rate, as far as one is known.

    Args:
        own: the rates that a run's own finished stages tell.
    """
    sources = _finished(run, own)
    if run.config.base == "micro" and run.config.engine.device in ("auto", "cpu"):
        sources.append(("what was measured for the embedded base on another machine", _embedded(run)))
    found = _first(sources)
    return {kind: found[other] for kind, other in _NEAREST.items() if other in found} | found


def token_counts(run: RunDir, own: OwnRates) -> dict[str, Rate]:
    """Kind of stage -> tokens per unit, as far as they are known.

    Args:
        own: those of a run's own finished stages.
    """
    return _first(_finished(run, own))


def _finished(run: RunDir, own: OwnRates) -> list[tuple[str, Mapping[str, float]]]:
    """What finished stages tell, of the run itself and then of its neighbours."""
    sources = [("this run's finished stages", own(run))]
    for other in _neighbours(run):
        with suppress(SrbenchError):  # one that is damaged tells nothing
            sources.append((str(other.path), own(other)))
    return sources


def _first(sources: Iterable[tuple[str, Mapping[str, float]]]) -> dict[str, Rate]:
    found: dict[str, Rate] = {}
    for source, known in sources:
        for kind, number in known.items():
            found.setdefault(kind, Rate(number, source))
    return found


def _embedded(run: RunDir) -> dict[str, float]:
    sft, dpo = run.config.sft.batch_size, run.config.dpo.batch_size
    batches = {"baseline": sft, "sft": sft, "dpo": dpo}
    known = {kind: seconds * batches[kind] for kind, seconds in _PER_EXAMPLE.items()} | _PER_UNIT
    mode = run.config.judge.mode
    known |= {"judgments": _PER_JUDGMENT[mode]} if mode in _PER_JUDGMENT else {}
    if run.config.rehearsal.what:
        known["dpo"] += run.config.rehearsal.size * _PER_EXAMPLE["sft"]
        known |= {} if most_asked(run.config, 1) else {"rehearsal": _PER_REHEARSED}
    known[ANSWERS] = _PER_UNIT["candidates"]
    return {kind: seconds for kind, seconds in known.items() if kind not in helped(run.config)}


def _neighbours(run: RunDir) -> Iterator[RunDir]:
    """Runs in the same directory whose work takes alike, the latest first."""
    files = [f for f in run.path.absolute().parent.glob("*/srbench.yaml") if f.parent != run.path.absolute()]
    for file in islice(sorted(files, key=_changed, reverse=True), _MAX_NEIGHBOURS):
        try:
            other = RunDir.open(file.parent)
        except SrbenchError:
            continue
        if _works_alike(run, other):
            yield other


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _works_alike(run: RunDir, other: RunDir) -> bool:
    def traits(r: RunDir) -> tuple[object, ...]:
        c = r.config
        steps = (c.sft.batch_size, c.sft.max_length, c.dpo.batch_size, c.dpo.max_length)
        engine = c.engine.model_copy(update={"date": None})
        helpers = (c.prompts.writer, c.seeds.reviewer)
        beside = (c.rehearsal.made_of(), c.select)
        return (c.base, engine, c.threads, c.judge, helpers, c.candidates.sampling, c.prompts.sampling, steps, beside)

    return traits(run) == traits(other)
