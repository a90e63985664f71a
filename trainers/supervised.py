"""M1 and the SFT baseline: the human seed data, and M0 fine-tuned on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from selfreward_bench.config import RANKS
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.rundir import hash_json
from selfreward_bench.types import Example, Judgment
from trainers import eft, rewards, roles, seeds
from trainers.making import Iteration, Making
from trainers.stages import BASELINE

__all__ = ["SEED_STAGE", "Supervised"]

SEED_STAGE: Final = "M1/ift"  # the first of all


class Supervised(Making):
    """The stages of M1 and of the baseline."""

    def supervised(self, model: str) -> Iteration:
        """SFT from the base: on IFT alone (the baseline) or on IFT and EFT (M1)."""
        self.seed_ift()
        if model == BASELINE:
            examples = jsonl.read(self.path("M1", "ift.jsonl"), Example)
            inputs = {"ift": self.outputs("M1/ift")["ift.jsonl"]}
        else:
            self.seed_eft()
            examples = self.mixed_examples()
            inputs = {"ift": self.outputs("M1/ift")["ift.jsonl"], "eft": self.outputs("M1/eft")["eft.jsonl"]}
        self.train(model, "sft", examples, inputs, self.config.sft)
        names = ["M1/ift", f"{model}/train"] if model == BASELINE else ["M1/ift", "M1/reviews", "M1/eft", "M1/train"]
        return self.conclude(model, names)

    def seed_ift(self) -> None:
        section = self.config.seeds
        settings: dict[str, object] = {
            "ift": section.ift,
            "size": section.ift_size,
            "excluded": section.exclude,
        }
        seeds.require_there(section, self.run.path)
        facts = seeds.facts(section)
        if facts:
            settings["read"] = facts
        if (known := self.run.finished_stage(SEED_STAGE)) and known.done:
            settings["ift"] = self._place(known.done.identity.settings, settings)
        with self.stage(SEED_STAGE, {}, settings) as stage:
            if stage:
                self.reporter.started(stage.name, None, "examples")
                examples = self.read_seeds()
                jsonl.write(stage.records_path("ift.jsonl"), examples)
                counts = {"examples": len(examples)}
                if read := facts.get("ift"):
                    counts |= {name: int(read[name]) for name in ("rows", "bad", "duplicates")}
                self.finish(stage, counts, "ift.jsonl")

    def _place(self, stored: Mapping[str, Any], settings: Mapping[str, object]) -> object:
        """Where the instructions were read from; the same ones elsewhere were moved, and are no others."""
        same = all(stored.get(key) == value for key, value in settings.items() if key != "ift")
        if not same or stored.get("ift") in (None, settings["ift"]):
            return settings["ift"]
        there = seeds.load_ift(self.config.seeds, self.config.seed)
        return stored["ift"] if there == jsonl.read(self.path("M1", "ift.jsonl"), Example) else settings["ift"]

    def read_seeds(self) -> list[Example]:
        """The instructions; what is wrong with the ranked responses is said, too, before anything is trained."""
        examples = seeds.load_ift(self.config.seeds, self.config.seed)
        seeds.load_eft(self.config.seeds, self.config.seed)
        return examples

    def seed_eft(self) -> None:
        """Reviews where the data brings none (by the SFT baseline, as in the paper), then filtered EFT examples.

        Whoever writes them is asked as a judge that samples.
        """
        section = self.config.seeds
        ranked = seeds.load_eft(section, self.config.seed)
        if section.reviewer == RANKS:
            ranked = eft.graded_by_rank(ranked, load_judge_prompt(self.config.judge.prompt))
        bare = [
            JudgeItem(p.id, i, p.messages, r.text)
            for p in ranked
            for i, r in enumerate(p.responses)
            if r.review is None and section.reviewer != RANKS
        ]
        if bare:
            reviewer = roles.who(self.config, roles.REVIEWER, BASELINE)
        if bare and reviewer == BASELINE:
            baseline = jsonl.read(self.path("M1", "ift.jsonl"), Example)
            inputs = {"ift": self.outputs("M1/ift")["ift.jsonl"]}
            self.train(BASELINE, "sft", baseline, inputs, self.config.sft)
        # where the data brings all reviews, no judge is asked, and its settings decide nothing
        judge_settings: dict[str, object] = {}
        if bare:
            judge_settings = {"judge": self.config.judge.without_request(), "samples": section.eft_samples}
            judge_settings |= self.rendering(reviewer)
        inputs = {"ranked": hash_json(ranked)} | ({"model": self.fingerprint(reviewer)} if bare else {})
        with self.stage("M1/reviews", inputs, judge_settings) as stage:
            if stage:
                counts = {"judgments": 0.0}
                path = stage.records_path("reviews.jsonl")
                if bare:
                    judge = replace(self.judge(reviewer, stage.name), mode="sampled", samples=section.eft_samples)
                    counts = rewards.write_items(judge, bare, path=path, reporter=self.reporter, stage=stage.name)
                    self.tidy(reviewer, path, bare)
                else:
                    jsonl.write(path, [])
                self.finish(stage, counts, "reviews.jsonl")
        inputs = {"ranked": hash_json(ranked), "reviews": self.outputs("M1/reviews")["reviews.jsonl"]}
        settings = {"flatten": section.eft_flatten, "judge": load_judge_prompt(self.config.judge.prompt).key}
        with self.stage("M1/eft", inputs, settings) as stage:
            if stage:
                self.reporter.started(stage.name, None, "examples")
                reviews = jsonl.read(self.path("M1", "reviews.jsonl"), Judgment, allow_empty=True)
                result = eft.build_eft(
                    ranked, reviews, load_judge_prompt(self.config.judge.prompt), section, self.config.seed
                )
                jsonl.write(stage.records_path("eft.jsonl"), result.examples)
                self.finish(stage, result.counts, "eft.jsonl")
