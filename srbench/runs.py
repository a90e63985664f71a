"""Runs from Python: made, trained, evaluated and reported as the command line does it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

from leaderboards.evaluation import Names, listed
from selfreward_bench import recipes
from selfreward_bench.cli import scoring
from selfreward_bench.cli.runs import Wanted, open_run
from selfreward_bench.cli.work import Work
from selfreward_bench.errors import ConfigError, UnknownNameError, did_you_mean
from selfreward_bench.progress import Silent
from selfreward_bench.storage.files import write_atomic
from srbench.results import Evaluation, evaluate, load_results

if TYPE_CHECKING:
    import pandas as pd

    from leaderboards.session import Options
    from selfreward_bench.config import RunConfig
    from selfreward_bench.models.opening import Services
    from selfreward_bench.prices import PriceTable
    from selfreward_bench.progress import Reporter
    from trainers.iteration import Iteration

__all__ = ["Run", "Settings", "load_recipe", "report", "run_iteration"]

Settings = Mapping[str, object] | Iterable[str]

_FORMATS: Final = {".html": "html", ".csv": "csv", ".json": "json", ".md": "markdown", ".tex": "latex"}


class Served(TypedDict, total=False):
    """What served models in a run's roles may cost, as the options of ``srbench run-iteration``.

    Attributes:
        prices: a table, or the file of one.
        max_cost: in the currency of ``prices``.
        replay: their answers come from the store alone.
        concurrency: calls at the same time.
    """

    prices: PriceTable | str | Path | None
    max_cost: float | None
    replay: bool
    concurrency: int


class Run:
    """A run: opened, or made where it is not there and settings for it are given.

    A run that is there keeps its settings; only those of the evaluation (``eval``) can change.

    Args:
        path: the run's directory.
        recipe: a built-in name, a YAML file, or what `load_recipe` gave; ``micro`` where only ``settings`` are given.
        settings: ``{"dpo.beta": 0.2}``, or ``["dpo.beta=0.2"]`` as with ``--set``.
        judge: the judge prompt, a built-in name or a YAML file.
        with_baseline: whether the SFT baseline is trained too.

    Raises:
        IncompatibleRunError: there is no run and nothing to make one from, or another version made it.
        ConfigError, UnknownNameError: the settings cannot be used, or are not those of the run that is there.
    """

    def __init__(
        self,
        path: str | Path,
        recipe: str | Path | RunConfig | None = None,
        settings: Settings = (),
        *,
        seed: int | None = None,
        judge: str | Path | None = None,
        with_baseline: bool = False,
    ) -> None:
        named = str(recipe) if isinstance(recipe, Path) else recipe
        wanted = Wanted(named, _changes(settings), seed, str(judge) if judge else None, with_baseline)
        self._run = open_run(Path(path), wanted)

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self._run.path

    @property
    def config(self) -> RunConfig:
        """The settings it was made with."""
        return self._run.config

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are made, in order."""
        from trainers.iteration import finished_models

        return tuple(finished_models(self._run))

    @property
    def next_model(self) -> str | None:
        """The model that `run_iteration` makes next; None when all are made."""
        from trainers.plan import next_model

        return next_model(self._run)

    @property
    def checkpoints(self) -> dict[str, Path]:
        """Model -> the directory of its weights, in Hugging Face layout; of the models that are made."""
        return {model: self.path / model / "checkpoint" for model in self.models}

    @property
    def status(self) -> pd.DataFrame:
        """One row per stage: its state (new, partial, done), the seconds it took at the end, and what it counted."""
        import pandas as pd

        from trainers.stages import BASELINE, stages

        rows = []
        for spec in stages(self.config):
            stage, state = self._run.finished_stage(spec.name), self._run.stage_status(spec.name)
            if state == "new" and spec.model == BASELINE and not self.config.with_baseline:
                continue  # nobody asked for it
            seconds, counts = (stage.seconds, stage.counts) if stage else (None, {})
            rows.append({"stage": spec.name, "state": state, "seconds": seconds, "counts": counts})
        return pd.DataFrame(rows, columns=["stage", "state", "seconds", "counts"])

    @property
    def results(self) -> Evaluation:
        """What was evaluated, read from its files.

        Raises:
            DataError: nothing was, or a result cannot be read.
        """
        return load_results(self.path)

    def samples(self, benchmark: str) -> pd.DataFrame:
        """A benchmark's samples with their texts, of all models: ``results.samples``."""
        return self.results.samples(benchmark)

    def run_iteration(
        self,
        until: str | None = None,
        *,
        from_stage: str | None = None,
        evaluate: bool = True,
        report: bool = True,
        reporter: Reporter | None = None,
        **served: Unpack[Served],
    ) -> list[Iteration]:
        """Makes the next model, or all up to ``until``; what is done is not done again, what was cut off goes on.

        Args:
            from_stage: deletes this stage and all after it first (``M2/pairs``).
            evaluate: whether each new model is evaluated (an evaluation that fails does not stop the next model).
            report: whether ``report.html`` is renewed at the end.
            reporter: told the course of the work, such as `RichReporter`.
            served: what served models in the run's roles may cost; see ``Served``.

        Returns:
            The models made now, in order; none where all are made.

        Raises:
            UnknownNameError: the run has no such model or stage.
            SrbenchError: a model cannot be made; or else, at the end, what the first failed evaluation raised.
            TypeError: there is no such option.
        """
        from trainers.plan import next_model, stages_from

        for name in served.keys() - Served.__annotations__.keys():
            raise TypeError(f"There is no option {name!r}.{did_you_mean(name, Served.__annotations__)}")
        target = until or next_model(self._run, stages_from(self.config, from_stage) if from_stage else ())
        if target is None:
            return []
        services = _services(self.config, served)
        work = Work(self._run, reporter or Silent(), evaluate=evaluate, report=report, services=services)
        work.make(target, from_stage)
        return work.made

    def evaluate(
        self, models: Names = (), *, reporter: Reporter | None = None, **options: Unpack[Options]
    ) -> Evaluation:
        """Scores models of the run, as ``srbench eval --run`` does.

        Args:
            models: one or several; empty takes the base (``M0``) and all that are made.
            options: see `srbench.evaluate`.

        Raises:
            UnknownNameError: the run has no such model.
            SrbenchError: it cannot be done as asked.
        """
        asked: list[str | None] = [*listed(models)]
        wanted = [n for model in asked or [None] for n in scoring.models_to_evaluate(self._run, model)]
        texts = [f"{self.path}:{name}" for name in wanted]
        return evaluate(texts, config=self.config, reporter=reporter, **options)

    def report(self, path: str | Path | None = None) -> Path:
        """Writes the report: see `srbench.report`."""
        return report(self, path)

    def __repr__(self) -> str:
        config = self.config
        return (
            f"Run({str(self.path)!r}: {config.name}, seed {config.seed}; made: {', '.join(self.models) or 'nothing'})"
        )

    def _repr_html_(self) -> str:
        from reports import notebook
        from reports.facts import reading as facts

        return notebook.run(facts.collect(self.path))


def run_iteration(
    run: Run | str | Path,
    until: str | None = None,
    *,
    from_stage: str | None = None,
    evaluate: bool = True,
    report: bool = True,
    reporter: Reporter | None = None,
    **served: Unpack[Served],
) -> list[Iteration]:
    """Makes the next model of a run, or all up to ``until``: `Run.run_iteration`."""
    opened = run if isinstance(run, Run) else Run(run)
    return opened.run_iteration(
        until, from_stage=from_stage, evaluate=evaluate, report=report, reporter=reporter, **served
    )


def _services(config: RunConfig, served: Served) -> Services:
    from selfreward_bench.prices import Budget, PriceTable, load_prices
    from trainers.serving import services_of

    prices = served.get("prices")
    table = prices if isinstance(prices, PriceTable) else load_prices(Path(prices)) if prices else PriceTable()
    budget = Budget(table, served.get("max_cost"))
    return services_of(config, budget=budget, replay=served.get("replay", False), concurrency=served.get("concurrency"))


def load_recipe(recipe: str | Path = "micro", settings: Settings = ()) -> RunConfig:
    """The settings that a recipe comes to.

    Args:
        recipe: a built-in name (`recipes`), or a YAML file.
        settings: ``{"dpo.beta": 0.2}``, or ``["dpo.beta=0.2"]`` as with ``--set``.

    Raises:
        UnknownNameError: no built-in recipe has that name.
        ConfigError: the recipe or a setting cannot be used; all of it is named.
    """
    return recipes.load(recipe, _changes(settings))


def report(runs: Run | str | Path | Iterable[Run | str | Path], path: str | Path | None = None) -> Path:
    """Writes the report of one run or several, as a page or, by the file's ending, as tables.

    Args:
        runs: runs, or directories of evaluations (``runs/eval``).
        path: ``.html``, ``.csv``, ``.json``, ``.md`` or ``.tex``; None is the run's own ``report.html``, of several
            runs ``./report.html``.

    Returns:
        Where it is.

    Raises:
        ConfigError: none is named.
        UnknownNameError: the file ends in something else.
        IncompatibleRunError: one is no run.
        DataError: the operating system refuses.
    """
    from reports import html
    from reports.exports import tables
    from reports.facts import reading as facts

    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    paths = [one.path if isinstance(one, Run) else Path(one) for one in several]
    if not paths:
        raise ConfigError("There is nothing to report: no run is named.")
    for one in paths:
        scoring.check_reported(one)
    if path is None and len(paths) == 1:
        return scoring.write_report(paths[0])
    target = Path(path or scoring.REPORT)
    if target.suffix not in _FORMATS:
        raise UnknownNameError("report format", target.suffix, _FORMATS)
    found = [facts.collect(one) for one in paths]
    if target.suffix == ".html":
        html.write(found, target, scoring.put_together(found))
    else:
        write_atomic(target, tables.render(found, _FORMATS[target.suffix], scoring.put_together(found)).encode())
    return target


def _changes(settings: Settings) -> list[str]:
    """As ``--set`` takes them; JSON is YAML."""
    if isinstance(settings, Mapping):
        return [f"{key}={json.dumps(value, default=str)}" for key, value in settings.items()]
    return listed(settings)
