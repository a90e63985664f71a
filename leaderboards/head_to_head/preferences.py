"""Were the pairs right? An independent judge on a sample of what a model was trained on: chosen against rejected.

Both answers are asked about in both orders, as checkpoints are held head to head. The answers of each pair are those
that the training saw; nobody answers anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from leaderboards.base import JudgeRole, Plan, Setting
from leaderboards.head_to_head import benchmark
from leaderboards.head_to_head.answers import Entry, hash_prompts
from leaderboards.head_to_head.judges import annotator_for
from leaderboards.models import SELF
from leaderboards.standings import CHOSEN, MATCHES, PAIRS, REJECTED, Tournament
from selfreward_bench.errors import ConfigError
from selfreward_bench.progress import Reporter
from selfreward_bench.seeding import derive_seed
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_file
from selfreward_bench.types import Completion, PreferencePair, Prompt

__all__ = ["PairsCheck", "pairs_of", "sample_pairs"]

MOST: Final = 100  # pairs of a model that are judged, where `eval.limit` says nothing


def pairs_of(root: Path, model: str) -> Path:
    """What a model of a run was trained on, where it was trained on pairs."""
    return root / model / "pairs.jsonl"


def sample_pairs(path: Path, limit: int | None, seed: int) -> list[PreferencePair]:
    """At most ``limit`` pairs of a file, drawn by their ids and in the file's order.

    Raises:
        DataError: the file cannot be read.
    """
    pairs = jsonl.read(path, PreferencePair)
    drawn = sorted(pairs, key=lambda p: derive_seed(seed, "eval/pairs", _name(p)))[: limit or MOST]
    names = {_name(p) for p in drawn}
    return [p for p in pairs if _name(p) in names]


def _name(pair: PreferencePair) -> str:
    """A prompt can have several pairs."""
    return f"{pair.prompt_id}/{pair.chosen_index}-{pair.rejected_index}"


class PairsCheck:
    """The sample of one model's pairs under a judge.

    Args:
        root: of the run; verdicts and result are in ``head-to-head/pairs/MODEL/``.

    Raises:
        ConfigError: nobody is named who could judge: the model's own judgments made the pairs.
        DataError: the pairs cannot be read.
    """

    def __init__(self, root: Path, model: str, setting: Setting) -> None:
        if setting.judge is None or setting.judge.name == SELF:
            raise ConfigError(
                f"pairs: a judge of its own has to say whether the pairs of {model} were right, and none was "
                "named (`self` made them). Name it: --judge openai:MODEL@URL, --judge DIR or --judge RUN:MODEL."
            )
        self.model, self.setting = model, setting
        self.judge: JudgeRole = setting.judge
        self.directory = root / MATCHES / PAIRS / model
        self.path = pairs_of(root, model)
        self.pairs = sample_pairs(self.path, setting.config.eval.limit, setting.config.seed)
        self.prompts: Sequence[Prompt] = [Prompt(id=_name(p), messages=p.prompt) for p in self.pairs]

    def plan(self) -> Plan:
        """Judgments, nothing of it done yet; nobody answers."""
        annotator = annotator_for(self.judge, self.setting.config)
        return Plan(judgments=benchmark.plan(2, self.prompts, self.setting.config, annotator).judgments)

    def run(self, reporter: Reporter) -> Tournament:
        """Judges what is not judged, and writes ``head_to_head.json``.

        Raises:
            SrbenchError: the judge cannot be asked, or stored verdicts cannot be read.
        """
        stage, began = f"{self.model}/{PAIRS}", time.monotonic()
        reporter.started(stage, self.plan().judgments.calls, "judgments")
        self.directory.mkdir(parents=True, exist_ok=True)
        found = benchmark.compare(
            [self._entry(REJECTED), self._entry(CHOSEN)],
            self.prompts,
            self.judge,
            directory=self.directory,
            config=self.setting.config,
            judge_truncated=True,
            anchor=REJECTED,
            advanced=reporter.advanced,
        )
        (pair,) = found.pairs
        reporter.finished(stage, {"pairs": pair.n_total, "scored": pair.n_scored}, time.monotonic() - began)
        return found

    def _entry(self, side: str) -> Entry:
        texts = {_name(p): (p.chosen if side == CHOSEN else p.rejected)[-1].content for p in self.pairs}
        answers = {
            i: Completion(prompt_id=i, index=0, text=text, n_tokens=0, finish_reason="stop", seed=0)
            for i, text in texts.items()
        }
        return Entry(side, f"{side} of {hash_file(self.path)}", answers, hash_prompts(self.prompts))
