"""A run directory with samples and pairs, written by hand: for tests of what the page shows of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from leaderboards.standings import HeadToHead, Tournament, write_record
from reports.facts.reading import collect
from reports.facts.run import RunFacts
from selfreward_bench.config import RunConfig
from selfreward_bench.storage.rundir import RunDir
from selfreward_bench.types import EvalResult, Metric


class SampleRun:
    """Writes the files of evaluated checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        RunDir.create(path, RunConfig())

    @property
    def facts(self) -> RunFacts:
        return collect(self.path)

    def folder(self, model: str, benchmark: str) -> Path:
        found = self.path / model / "eval" / benchmark
        found.mkdir(parents=True, exist_ok=True)
        return found

    def scores(self, model: str, benchmark: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """A result, and the rows it is said to be made of."""
        folder = self.folder(model, benchmark)
        metric = Metric(value=0.5, n_scored=1, n_total=1)
        result = EvalResult(
            checkpoint=model,
            fingerprint=f"f-{model}",
            benchmark=benchmark,
            judge="a judge",
            metrics={"win_rate": metric},
            config_hash="c" * 32,
            versions={},
            seconds=1.0,
        )
        write_record(folder / "result.json", result)
        return self.lines(folder / "scores.jsonl", rows)

    def lines(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def answers(self, model: str, benchmark: str, texts: Mapping[str, str], file: str = "answers.jsonl") -> None:
        """Prompt id -> text; one that ends in an ellipsis was cut."""
        rows = [
            {
                "prompt_id": prompt_id,
                "index": 0,
                "text": text,
                "n_tokens": 3,
                "finish_reason": "length" if text.endswith("…") else "stop",
                "seed": 0,
            }
            for prompt_id, text in texts.items()
        ]
        self.lines(self.folder(model, benchmark) / file, rows)

    def tournament(self, names: tuple[str, ...], verdicts: Iterable[Mapping[str, Any]]) -> None:
        match = HeadToHead(
            benchmark="head-to-head@1", judge="j", a=names[-1], b=names[0], win_rate=0.5, low=0.4, high=0.6, p_value=1,
            win=0.5, tie=0, loss=0.5, n_scored=1, n_total=1, n_prompts=1,
        )  # fmt: skip
        record = Tournament(
            benchmark="head-to-head@1",
            checkpoints={n: f"f-{n}" for n in names},
            judge="j",
            rule="agree",
            anchor=names[0],
            n_prompts=1,
            pairs=(match,),
            ratings=(),
            comparability={},
        )
        folder = self.path / "head-to-head"
        folder.mkdir(exist_ok=True)
        write_record(folder / "head_to_head.json", record)
        self.lines(folder / "comparisons.jsonl", verdicts)

    def pairs(self, model: str, pairs: Iterable[tuple[str, str, str, float, float]]) -> None:
        """Prompt, chosen, rejected and their scores; the prompts' ids are p0, p1, ..."""
        rows = [
            {
                "prompt_id": f"p{i}",
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
                "chosen_score": high,
                "rejected_score": low,
                "chosen_index": 2,
                "rejected_index": 0,
            }
            for i, (prompt, chosen, rejected, high, low) in enumerate(pairs)
        ]
        self.lines(self.path / model / "pairs.jsonl", rows)
        (self.path / model / "iteration.json").write_text("{}")


def alpaca(sample_id: str, value: float | None, answer: str | None, **detail: Any) -> dict[str, Any]:
    """A row as AlpacaEval's benchmark leaves it."""
    reason = detail.pop("reason", None if value is not None else "no_verdict")
    measures = detail.pop("measures", {})
    return {
        "sample_id": sample_id,
        "value": value,
        "cluster": sample_id,
        "reason": reason,
        "detail": {
            "measures": {"win_rate": value, "avg_length": len(answer or ""), "win_rate/koala": value, **measures},
            "category": "koala",
            "prompt": f"What is {sample_id}?",
            "answer": answer,
            "reference": "The reference.",
            **detail,
        },
    }


def verdict(a: str, b: str, prompt_id: str, order: str, preference: float | None, raw: str) -> dict[str, Any]:
    """A line of a tournament's verdicts."""
    reason = None if preference is not None else "no_verdict"
    return {
        "a": a, "b": b, "prompt_id": prompt_id, "order": order, "content": "c", "preference": preference, "raw": raw,
        "reason": reason, "way": "words",
    }  # fmt: skip
