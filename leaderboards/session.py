"""One call of evaluation: some models, some benchmarks, one judge; planned, run, compared.

The command line and `leaderboards.evaluate` are both this. Every model is loaded at most once for its benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from leaderboards import standings, suites
from leaderboards.base import Setting
from leaderboards.chain import keep_order
from leaderboards.comparing.run import compare
from leaderboards.course import Course
from leaderboards.drift.session import drift, needed
from leaderboards.evaluation import Evaluation, listed
from leaderboards.harness import evaluate_model
from leaderboards.head_to_head.benchmark import HEAD_TO_HEAD as MATCHES_KEY
from leaderboards.head_to_head.finished import holds_annotations, holds_answers, score_annotations
from leaderboards.head_to_head.tournament import HeadToHead
from leaderboards.health.run import write_health
from leaderboards.models import SELF, as_self, finished_settings, open_candidate
from leaderboards.options import (
    ROOT,
    Asked,
    Options,
    all_rows,
    is_match,
    is_row,
    judge_of,
    lacks_judge,
    request_of,
    suite_of,
)
from leaderboards.planning import Entry, Planned, check_of, has_pairs, plan_drift, plan_matches, plan_pairs, plan_row
from leaderboards.registry import open_benchmark
from leaderboards.standings import Tournament
from leaderboards.suites import HEAD_TO_HEAD, PAIRS, bounded, default_config, run_of
from selfreward_bench.config import RunConfig
from selfreward_bench.errors import ConfigError, SrbenchError, did_you_mean
from selfreward_bench.models.candidates import Candidate, parse_candidates
from selfreward_bench.models.opening import CONCURRENCY, Services, check_served
from selfreward_bench.prices import Budget, PriceTable, load_prices
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.sources.directory import DataDir
from selfreward_bench.storage.files import os_errors
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult

__all__ = ["Asked", "Evaluation", "Options", "Session", "evaluate", "prepare"]


def evaluate(
    checkpoints: str | Path | Iterable[str | Path],
    *,
    config: RunConfig | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[Options],
) -> Evaluation:
    """Scores checkpoints, as ``srbench eval`` does.

    Args:
        checkpoints: one or several: directories in Hugging Face layout, ``RUN:MODEL``, hub ids, ``openai:NAME@URL`` or
            finished files.
        config: how models answer and judge; None takes the run's, where all are of one, else `default_config`. Its
            ``chat_template`` is that of models outside a run; a run's models keep their run's.
        options: see ``Options``.

    Returns:
        The results; ``metrics()`` and ``samples()`` give them as pandas tables. What failed is in ``errors``.

    Raises:
        SrbenchError: it cannot be done as asked; of a name that is not known the message tells the closest.
        TypeError: there is no such option.

    Example:
        >>> found = evaluate("runs/first:M2", benchmarks="alpaca-eval")  # doctest: +SKIP
        >>> found.metrics().query("metric == 'win_rate'")  # doctest: +SKIP
    """
    texts = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    if not texts:
        raise ConfigError("There is nothing to evaluate: no checkpoint is named.")
    return prepare(parse_candidates(map(str, texts)), config, **options).run(reporter)


def prepare(candidates: Sequence[Candidate], config: RunConfig | None = None, **options: Unpack[Options]) -> Session:
    """The evaluation, checked; nothing is loaded or asked yet. Arguments and errors as in ``evaluate``."""
    for name in options.keys() - Options.__annotations__.keys():
        raise TypeError(f"There is no option {name!r}.{did_you_mean(name, Options.__annotations__)}")
    run, world, judge, output = run_of(candidates), options.get("world"), options.get("judge"), options.get("output")
    config = config or (RunDir.open(run).config if run else default_config(suites.world_of(candidates, world)))
    config = bounded(config, options.get("limit"), options.get("seed"))
    prices, data = options.get("prices") or PriceTable(), options.get("data_dir")
    services = Services(
        config.engine,
        config.threads,
        budget=Budget(load_prices(Path(prices)) if isinstance(prices, str | Path) else prices, options.get("max_cost")),
        replay=options.get("replay", False),
        concurrency=options.get("concurrency", CONCURRENCY),
        chat_template=None if run else config.chat_template,
        timeout=config.eval.served_timeout,
        request=request_of(config, str(judge or "")),
    )
    asked = Asked(
        candidates=candidates,
        root=Path(output) if output else run or ROOT,
        config=config,
        services=services,
        benchmarks=listed(options.get("benchmarks", ())),
        suite=options.get("suite"),
        judge=str(judge) if judge else None,
        world=world,
        data=DataDir.find(Path(data) if data else None),
    )
    return Session(asked)


class Session:
    """An evaluation, checked as far as that is possible without loading a model.

    Raises:
        ConfigError, UnknownNameError, PluginError: it cannot be done as asked.
        EngineError, DataError: a model or a data set is not there.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.world = suites.world_of(asked.candidates, asked.world)
        self._suite = suite_of(asked, self.world)
        config = bounded(asked.config, self._suite.limit) if asked.config.eval.limit is None else asked.config
        self.names = suites.chosen(asked.benchmarks or self._suite.benchmarks, self.world)
        self.judge = judge_of(asked, self.world)
        self.setting = Setting(config, asked.data, self.judge)
        self._check_keys()
        self._entries = [self._entry(c) for c in asked.candidates]
        self._check_judges()
        self._matches = self._head_to_head()

    def plan(self) -> list[Planned]:
        """What would be done; nothing is."""
        planned = [plan_row(e, name, setting) for e in self._entries for name, setting in e.settings.items()]
        if self._matches:
            planned.append(plan_matches(self._matches, self._answering, len(self._giving)))
        planned += [plan_pairs(e, self.setting) for e in self._entries if PAIRS in self.names and has_pairs(e)]
        if self._wants_drift and len(self._answering) > 1:
            planned.append(plan_drift(self._answering, self.setting, self.world))
        return planned

    def lacking(self) -> dict[str, str]:
        """Rows that cannot be run for any model -> why, such as data that are not there."""
        why: dict[str, list[str]] = {}
        for entry in self._entries:
            for name, setting in entry.settings.items():
                why.setdefault(name, []).append(plan_row(entry, name, setting).problem)
        return {name: problems[0] for name, problems in why.items() if all(problems)}

    @property
    def _answering(self) -> list[Entry]:
        """Those that can be asked something: all but finished files."""
        return [e for e in self._entries if e.candidate.kind != "finished"]

    @property
    def _giving(self) -> list[Entry]:
        """Those whose finished outputs are compared: where that is asked for, beside others' answers, or by a judge."""
        found = [e for e in self._entries if e.candidate.kind == "finished" and holds_answers(e.candidate.path)]
        judged = self.judge is not None and self.judge.name != SELF and len(found) > 1
        return found if self._asked_for_matches or self._answering or judged else []

    @property
    def _asked_for_matches(self) -> bool:
        return any(map(is_match, self.asked.benchmarks))

    @property
    def _wants_drift(self) -> bool:
        return set(needed(self.world)) <= set(self.names)

    def _head_to_head(self) -> HeadToHead | None:
        name = next((n for n in self.names if is_match(n)), None)
        giving = self._giving
        if name is None or not (self._answering or giving):
            if self._asked_for_matches and not self._annotated:
                raise ConfigError(
                    "head-to-head: none of these files holds outputs (instruction and output, or prompt and response) "
                    "or AlpacaEval's annotations of two models. Name such files, or models that can answer."
                )
            return None
        file = name.partition(":")[2]
        outputs = None if self._answering else giving[0].candidate.path
        return HeadToHead(self.asked.root, self.setting, Path(file) if file else None, outputs)

    @property
    def _annotated(self) -> list[Path]:
        """Finished annotations of pairs of models, where head-to-head is asked for."""
        paths = [e.candidate.path for e in self._entries if e.candidate.path is not None]
        return [path for path in paths if self._asked_for_matches and holds_annotations(path)]

    def run(self, reporter: Reporter | None = None) -> Evaluation:
        """Evaluates all, then compares; a model or benchmark that fails does not stop the others.

        Raises:
            ConfigError: a served model cannot be asked: its price or its key is missing.
            IncompatibleRunError: another process is writing there.
        """
        for entry in self._answering:
            check_served(entry.candidate.text, self.asked.services)
        check_served(self.asked.judge or "", self.asked.services, judges=True)
        root, shown = self.asked.root, self._course(reporter or Silent())
        with os_errors(root, "make"):
            root.mkdir(parents=True, exist_ok=True)
        errors: list[str] = []
        with RunDir(root, self.asked.config).lock():
            keep_order(root, [entry.candidate.name for entry in self._entries])
            for entry in self._entries:
                self._evaluate(entry, shown, errors)
            tournament = None
            with _noting(errors, HEAD_TO_HEAD):
                if self._matches:
                    tournament = self._matches.hold(shown)
                elif annotated := self._annotated:
                    tournament = score_annotations(annotated, root / standings.MATCHES)
            preferences = self._check_pairs(shown, errors)
            if self.judge and self.judge.engine:
                self.judge.engine.close()
            with _noting(errors, "drift"):
                self._drift(shown)
            with _noting(errors, "comparison"):
                compare(root)
                write_health(root)
            return Evaluation(root, tuple(self._results()), tuple(errors), tournament, preferences)

    def _course(self, reporter: Reporter) -> Course:
        """What tells of the whole of it, by the names that stages have."""
        models = {}
        for entry in self._entries:
            keys = [open_benchmark(name).key for name in entry.settings]
            keys += [MATCHES_KEY] if self._matches and entry in self._answering else []
            models[entry.opened.model.name] = [f"{entry.opened.model.name}/eval/{key}" for key in keys]
        after = [HEAD_TO_HEAD] if self._matches else []
        return Course(reporter, models, [*after, "drift"] if self._wants_drift and len(self._answering) > 1 else after)

    def _evaluate(self, entry: Entry, reporter: Reporter, errors: list[str]) -> None:
        model = entry.opened.model
        with _noting(errors, model.name):
            evaluate_model(model, entry.settings, out_dir=entry.out_dir, reporter=reporter)
        with _noting(errors, f"{model.name}: {HEAD_TO_HEAD}"):
            if self._matches and entry in self._answering:
                self._matches.answer(model, reporter)
            elif self._matches and entry in self._giving and entry.candidate.path:
                self._matches.take(model, entry.candidate.path, entry.candidate.model)
        entry.opened.close()

    def _check_pairs(self, reporter: Reporter, errors: list[str]) -> dict[str, Tournament]:
        """The judge's view of what each model was trained on."""
        found: dict[str, Tournament] = {}
        trained = [entry for entry in self._entries if has_pairs(entry)] if PAIRS in self.names else []
        if PAIRS in self.names and not trained:
            errors.append(f"{PAIRS}: none of these models was trained on preference pairs of a run.")
        for entry in trained:
            with _noting(errors, f"{entry.candidate.name}: {PAIRS}"):
                found[entry.candidate.name] = check_of(entry, self.setting).run(reporter)
        return found

    def _drift(self, reporter: Reporter) -> None:
        """Each model as a judge of all models' answers, where several have answered and judged in this call."""
        if not self._wants_drift:
            return
        wanted = [open_benchmark(name).key for name in needed(self.world) if not is_match(name)]
        judging = [e.opened for e in self._answering if all(_is_done(e.out_dir / key) for key in wanted)]
        if len(judging) > 1:
            drift(self.asked.root, judging, self.setting, self.world, reporter)

    def _results(self) -> Iterable[EvalResult]:
        for entry in self._entries:
            for name in entry.settings:
                folder = entry.out_dir / open_benchmark(name).key
                if _is_done(folder):
                    yield standings.read_result(folder / standings.RESULT)

    def _entry(self, candidate: Candidate) -> Entry:
        opened = open_candidate(candidate, self.asked.services)
        setting = replace(self.setting, judge=as_self(self.judge, opened))
        rows = [n for n in self.names if is_row(n)]
        settings = dict.fromkeys(rows, setting)
        if candidate.kind == "finished":
            compared = self._asked_for_matches and (holds_answers(candidate.path) or holds_annotations(candidate.path))
            every = rows if self.asked.benchmarks else all_rows(self.world)
            settings = {} if compared and not rows else finished_settings(candidate, every, setting)
        return Entry(candidate, opened, settings, self.asked.root / candidate.name / "eval")

    def _check_keys(self) -> None:
        """Two benchmarks of one key would take each other's place."""
        named: dict[str, str] = {}
        for name in filter(is_row, self.names):
            key = open_benchmark(name).key
            if other := named.get(key.casefold()):
                raise ConfigError(f"{other} and {name} both keep their results as {key}. Evaluate them one by one.")
            named[key.casefold()] = name

    def _check_judges(self) -> None:
        lacking = {
            name
            for entry in self._entries
            for name, setting in entry.settings.items()
            if lacks_judge(open_benchmark(name), setting)
        }
        if lacking:
            rest = ",".join(dict.fromkeys(n for e in self._entries for n in e.settings if n not in lacking))
            raise ConfigError(
                f"{', '.join(sorted(lacking))}: somebody has to judge, and no judge was named. Name one: "
                "--judge openai:MODEL@URL (a served model), --judge DIR or RUN:MODEL (a local one), or --judge self."
                + (f" Without a judge there are: --benchmarks {rest}." if rest else "")
            )


def _is_done(folder: Path) -> bool:
    """Whether there is a result of this evaluation; one beside a failure is older, of other settings maybe."""
    return (folder / standings.RESULT).is_file() and not (folder / standings.FAILURE).exists()


@contextmanager
def _noting(errors: list[str], about: str) -> Iterator[None]:
    """What goes wrong in one part is noted, and the others go on."""
    try:
        yield
    except SrbenchError as error:
        errors += [f"{about}: {text}" for text in getattr(error, "__notes__", None) or [str(error)]]
