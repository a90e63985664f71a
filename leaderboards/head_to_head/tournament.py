"""Head-to-head within an evaluation: each model answers while it is loaded, and all pairs are judged at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from leaderboards import chain, standings
from leaderboards.base import JudgeRole, Plan, Setting, Subject
from leaderboards.head_to_head import benchmark
from leaderboards.head_to_head.answers import Entry, answer, default_prompts, hash_prompts, read_entry
from leaderboards.head_to_head.finished import given_prompts, store_given
from leaderboards.head_to_head.judges import annotator_for
from leaderboards.head_to_head.verdicts import kind_of
from leaderboards.models import SELF, Model
from leaderboards.standings import Tournament
from selfreward_bench.errors import ConfigError, DataError
from selfreward_bench.progress import Reporter, Tell
from selfreward_bench.storage import jsonl
from selfreward_bench.types import Prompt

__all__ = ["DIRECTORY", "HeadToHead", "reasons_in_words"]

DIRECTORY: Final = standings.MATCHES


class HeadToHead:
    """All pairs of some models on the same prompts.

    Args:
        root: the answers are in ``NAME/eval/head-to-head@1/``, verdicts and result in ``head-to-head/``.
        prompts: a file of prompts; None takes `default_prompts`.
        outputs: a file of finished outputs whose prompts are taken, where no model is there to answer others.

    Raises:
        ConfigError: nobody is named who could judge all pairs alike.
        DataError: the prompts cannot be read.
    """

    def __init__(self, root: Path, setting: Setting, prompts: Path | None = None, outputs: Path | None = None) -> None:
        if setting.judge is None or setting.judge.name == SELF:
            raise ConfigError(
                "head-to-head: one judge has to compare all pairs, and none was named (`self` would be another one "
                "for each model). Name it: --judge openai:MODEL@URL, --judge DIR or --judge RUN:MODEL; or leave "
                "head-to-head out: --benchmarks alpaca-eval,mt-bench,nlp,judge-accuracy."
            )
        self.root, self.setting = root, setting
        self.judge: JudgeRole = setting.judge
        given = outputs if prompts is None else None
        limit = setting.config.eval.limit
        self.prompts: list[Prompt] = given_prompts(given, limit) if given else default_prompts(setting, prompts)

    def plan(self, n_models: int) -> Plan:
        """Answers and judgments for so many models, nothing of it done yet."""
        annotator = annotator_for(self.judge, self.setting.config)
        return benchmark.plan(n_models, self.prompts, self.setting.config, annotator)

    def answer(self, model: Model, reporter: Reporter) -> None:
        """Stores a model's answers.

        Raises:
            SrbenchError: it cannot answer.
        """
        stage = f"{model.name}/eval/{benchmark.HEAD_TO_HEAD}"
        reporter.started(stage, len(self.prompts), "answers")
        began = time.monotonic()
        folder = self._folder(model.name)
        folder.mkdir(parents=True, exist_ok=True)
        subject = Subject(model.name, model.open, self.setting, folder, reporter.advanced)
        found = answer(
            subject,
            self.prompts,
            fingerprint=model.fingerprint,
            rendering=model.rendering,
            tell=reporter.message,
        )
        reporter.finished(
            stage, {"answers": len(found.answers), "failed": len(found.failures)}, time.monotonic() - began
        )

    def take(self, model: Model, path: Path, which: str | None) -> None:
        """Stores a finished file's outputs as a model's answers.

        Args:
            which: whose outputs, where the file holds those of several.

        Raises:
            DataError: the file cannot be read, or answers none of the prompts.
        """
        store_given(path, self.prompts, self._folder(model.name), model.name, model.fingerprint, which)

    def hold(self, reporter: Reporter) -> Tournament | None:
        """Judges all pairs of the models that have answered these prompts, of earlier calls too; None with one alone.

        Raises:
            SrbenchError: the judge cannot be asked, or stored files cannot be read.
        """
        entries = self._entries(reporter.message)
        if len(entries) < 2:
            there = f"{entries[0].name} alone has. Evaluate another one with it." if entries else "none has."
            reporter.message(f"head-to-head needs two models with answers; {there}")
            return None
        began = time.monotonic()
        jsonl.write(self.root / DIRECTORY / "prompts.jsonl", self.prompts)
        reporter.started("head-to-head", self.plan(len(entries)).judgments.calls, "judgments")
        result = benchmark.compare(
            entries,
            self.prompts,
            self.judge,
            directory=self.root / DIRECTORY,
            config=self.setting.config,
            judge_truncated=self.judge.engine is not None,  # as AlpacaEval does; the oracle's world leaves them out
            advanced=reporter.advanced,
        )
        lacking: Counter[str] = sum((Counter(p.reasons) for p in result.pairs), Counter())
        counts = {"pairs": len(result.pairs)} | {f"unscored: {why}": n for why, n in lacking.items()}
        reporter.finished("head-to-head", counts, time.monotonic() - began)
        return result

    def _entries(self, note: Tell) -> Sequence[Entry]:
        """Those who answered these prompts; who answered others, or nothing, is named."""
        folders = sorted(self.root.glob(f"*/eval/{benchmark.HEAD_TO_HEAD}"))
        found: dict[str, Entry] = {}
        for folder in folders:
            name = folder.parts[-3]
            try:
                found[name] = read_entry(name, folder)
            except DataError as error:
                note(str(error))
        wanted = hash_prompts(self.prompts)
        same = {name: e for name, e in found.items() if e.prompts == wanted}
        for name in sorted(found.keys() - same.keys()):
            note(f"head-to-head: {name} answered other prompts and is left out. Evaluate it again to have it in.")
        for name, entry in same.items():
            if not entry.answers:
                why = f" ({reasons_in_words(entry.failures.values())})" if entry.failures else ""
                note(f"head-to-head: {name} has no answers{why} and is left out. Evaluate it again to have it in.")
        order = chain.model_order(same, chain.given_order(self.root))
        return [same[name] for name in order if same[name].answers]

    def _folder(self, name: str) -> Path:
        return self.root / name / "eval" / benchmark.HEAD_TO_HEAD


def reasons_in_words(reasons: Iterable[str]) -> str:
    """How often each.

    >>> reasons_in_words(["over_budget", "failed: HTTP 500", "over_budget"])
    'over_budget 2, failed 1'
    """
    return ", ".join(f"{why} {n:,}" for why, n in Counter(map(kind_of, reasons)).most_common())
