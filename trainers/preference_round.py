"""A round of preferences: new prompts, the parent's answers, their rewards, pairs, and DPO on them.

``preferences`` puts the stages in order, as the paper does; what other methods put in between is in
``trainers.variants``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selfreward_bench.config import SEEDS, PairsConfig
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Records
from selfreward_bench.storage.rundir import Stage, hash_json
from selfreward_bench.types import Completion, Example, Judgment, PreferencePair, Prompt, Reward
from trainers import (
    answer_sources,
    checks,
    implicit,
    pairs,
    positives,
    prompt_files,
    prompts,
    rehearsal,
    rewards,
    roles,
    seeds,
)
from trainers.answers import Answers
from trainers.making import Iteration
from trainers.stages import parent_of, stages
from trainers.variants import Variants

__all__ = ["PreferenceRound"]


class PreferenceRound(Variants):
    """The stages of M2, M3, ..."""

    def preferences(self, model: str) -> Iteration:
        """DPO from the parent on preferences that the parent made."""
        parent = parent_of(model)
        self.fingerprint(parent)  # an exchanged parent is refused before anything is made, or deleted
        self.new_prompts(model, parent)
        self.answer(model, parent)
        if "first" in self.sources(model):
            self.answer_as_first(model)
        self.reward(model, parent)
        if self.config.consistency and parent != "M1":
            self.agree(model, parent)
        if "next" in answer_sources.named(self.config.pairs.chosen_from):
            self.look_ahead(model, parent)
        self.prefer(model)
        self.check_made_by(f"{model}/candidates", parent)
        if self.config.learn == "positives":
            return self.learn_positives(model)
        records = self.checked_pairs(model)
        inputs = {"pairs": self.outputs(f"{model}/pairs")["pairs.jsonl"]}
        if self.config.meta.by != "none":
            records = answer_sources.joined([records, self.judge_pairs(model, parent)])
            inputs["judge-pairs"] = self.outputs(f"{model}/meta")["judge-pairs.jsonl"]
        more: dict[str, object] = {}
        if self.config.rehearsal.what:
            self.rehearse(model, parent, len(records))
            inputs["rehearsal"] = self.outputs(f"{model}/rehearsal")["rehearsal.jsonl"]
            more["rehearsal"] = self.config.rehearsal.model_dump()
        self.train(model, "dpo", records, inputs, self.preference_section(model), more)
        return self.conclude(model, self.stages_of(model))

    def stages_of(self, model: str) -> list[str]:
        """The names of a model's stages, in order."""
        return [s.name for s in stages(self.config) if s.model == model]

    def checked_pairs(self, model: str) -> Sequence[PreferencePair]:
        """The pairs, each of which must be two of the answers that it names."""
        path = self.path(model, "pairs.jsonl")
        records = Records(path, PreferencePair)
        checks.check_pairs(path, model, records, answer_sources.read(self.path(model, ""), self.paired(model)))
        return records

    def paired(self, model: str, *, ahead: bool = False) -> tuple[str, ...]:
        """Whose answers the pairs of a round are made of."""
        later = "next" in answer_sources.named(self.config.pairs.chosen_from) and not ahead
        return (*self.sources(model), *(("next",) if later else ()))

    def learn_positives(self, model: str) -> Iteration:
        """SFT from M0 on the seed data and all perfect answers so far, instead of DPO: the paper's ablation."""
        inputs = {
            "completions": self.outputs(f"{model}/candidates")["completions.jsonl"],
            "rewards": self.outputs(f"{model}/pairs")["rewards.jsonl"],
        }
        with self.stage(
            f"{model}/positives", inputs, {"judge": load_judge_prompt(self.config.judge.prompt).key}
        ) as stage:
            if stage:
                result = positives.perfect(
                    Records(self.path(model, "prompts.jsonl"), Prompt),
                    Records(self.path(model, "completions.jsonl"), Completion),
                    jsonl.iterate(self.path(model, "rewards.jsonl"), Reward),
                    load_judge_prompt(self.config.judge.prompt),
                )
                checks.require_positives(model, result.counts)
                jsonl.write(stage.records_path("positives.jsonl"), result.examples)
                self.finish(stage, result.counts, "positives.jsonl")
        rounds = [f"M{i}" for i in range(2, int(model[1:]) + 1)]
        inputs = {name: self.outputs(f"M1/{name}")[f"{name}.jsonl"] for name in ("ift", "eft")}
        inputs |= {f"positives-{m}": self.outputs(f"{m}/positives")["positives.jsonl"] for m in rounds}
        added = [e for m in rounds for e in jsonl.read(self.path(m, "positives.jsonl"), Example, allow_empty=True)]
        self.train(model, "sft", self.mixed_examples() + added, inputs, self.config.sft, parent="M0")
        return self.conclude(model, self.stages_of(model), parent="M0")

    def rehearse(self, model: str, parent: str, pairs: int) -> None:
        """Judgments that are trained beside the pairs."""
        section, kinds = self.config.seeds, self.config.rehearsal.what
        inputs = {name: self.outputs(f"{model}/{name}")[file] for name, file in rehearsal.READ.items()}
        inputs["model"] = self.fingerprint(parent)
        settings: dict[str, object] = {"rehearsal": self.config.rehearsal.made_of(), "flatten": section.eft_flatten}
        settings |= {"judge": self.config.judge.without_request(), "rows": rehearsal.rows_wanted(self.config, pairs)}
        ranked = seeds.load_eft(section, self.config.seed) if "renewed" in kinds else []
        if ranked:
            inputs["ranked"], settings["samples"] = hash_json(ranked), section.eft_samples
        if "eft" in kinds:
            inputs["eft"] = self.outputs("M1/eft")["eft.jsonl"]
        with self.stage(f"{model}/rehearsal", inputs, settings) as stage:
            if stage:
                counts = rehearsal.write_rehearsal(
                    self.judge(parent, stage.name),
                    kinds,
                    rehearsal.Source(
                        Records(self.path(model, "prompts.jsonl"), Prompt),
                        Records(self.path(model, "completions.jsonl"), Completion),
                        Records(self.path(model, "judgments.jsonl"), Judgment, allow_empty=True),
                        ranked,
                        jsonl.read(self.path("M1", "eft.jsonl"), Example) if "eft" in kinds else [],
                        section,
                    ),
                    wanted=rehearsal.rows_wanted(self.config, pairs),
                    directory=stage.directory,
                    run_seed=self.config.seed,
                    reporter=self.reporter,
                )
                self.finish(stage, counts, "rehearsal.jsonl")

    def earlier_prompts(self, model: str) -> Sequence[Prompt]:
        """The prompts of all earlier rounds, which new ones must not repeat."""
        rounds = [f"M{i}" for i in range(2, int(model[1:]))]
        return answer_sources.joined([Records(self.path(m, "prompts.jsonl"), Prompt) for m in rounds])

    def seed_prompts(self) -> list[Prompt]:
        ift = jsonl.read(self.path("M1", "ift.jsonl"), Example)
        return [Prompt(id=e.id, messages=e.prompt, source=e.source) for e in ift]

    def used_prompts(self, model: str) -> Sequence[Prompt]:
        return answer_sources.joined([self.seed_prompts(), self.earlier_prompts(model)])

    def new_prompts(self, model: str, parent: str) -> None:
        inputs = {
            "seeds": self.outputs("M1/ift")["ift.jsonl"],
            **{f"pool-M{i}": self.outputs(f"M{i}/prompts")["prompts.jsonl"] for i in range(2, int(model[1:]))},
        }
        if self.config.prompts.writer == SEEDS or prompt_files.needed(self.config):
            self.prompts_with_answers(model, inputs)
            return
        if roles.is_prompt_file(self.config.prompts.writer):
            self.given_prompts(model, inputs)
            return
        writer = roles.who(self.config, roles.WRITER, parent)
        inputs["writer"] = self.fingerprint(writer)
        settings = self.config.prompts.model_dump() | self.rendering(writer)
        if writer in self.helpers:
            settings["writer"] = "another model"  # whose fingerprint tells which; it may be moved
        with self.stage(f"{model}/prompts", inputs, settings) as stage:
            if stage:
                counts = prompts.write_prompts(
                    self.engine(writer),
                    self.config.prompts,
                    raw_path=stage.records_path("prompts.raw.jsonl"),
                    path=stage.records_path("prompts.jsonl"),
                    seed_prompts=self.seed_prompts(),
                    pool=self.earlier_prompts(model),
                    excluded=seeds.load_excluded(self.config.seeds),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self.finish(stage, counts, "prompts.jsonl")

    def given_prompts(self, model: str, inputs: dict[str, str]) -> None:
        """Prompts of the user's own file in place of written ones."""
        section = self.config.prompts
        found = prompt_files.load_prompts(section.writer)
        settings = {"writer": "a file", "count": section.count, "max_rouge_l": section.max_rouge_l}
        with self.stage(f"{model}/prompts", inputs | {"file": prompt_files.digest(found)}, settings) as stage:
            if stage:
                counts = prompt_files.take_prompts(
                    found,
                    section,
                    path=stage.records_path("prompts.jsonl"),
                    used=self.used_prompts(model),
                    excluded=seeds.load_excluded(self.config.seeds),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self.finish(stage, counts, "prompts.jsonl")

    def answer(self, model: str, parent: str) -> None:
        """The parent's candidates."""
        inputs = {"prompts": self.outputs(f"{model}/prompts")["prompts.jsonl"], "model": self.fingerprint(parent)}
        self.candidates(parent, f"{model}/candidates", inputs, model)

    def reward(self, model: str, parent: str, *, ahead: bool = False) -> None:
        """The parent judges the answers, or who is named for it; a control reward needs no judgment."""
        kind, sources = self.kind(model), ("next",) if ahead else self.sources(model)
        judge = roles.who(self.config, roles.JUDGE, parent) if kind == "self" else parent
        inputs = {**self.answered(model, sources), "model": self.fingerprint(parent)}
        if judge != parent:
            inputs["judge"] = self.fingerprint(judge)
        settings: dict[str, object] = {"judge": self.config.judge.without_request(), "rewards": kind}
        scored = self.scored_by(model, parent)
        with self.stage(
            f"{model}/next/judgments" if ahead else f"{model}/judgments",
            inputs | scored[0],
            settings | self.rendering(judge) | scored[1],
        ) as stage:
            if stage:
                path = stage.records_path("judgments.jsonl")
                asked = Records(self.path(model, "prompts.jsonl"), Prompt)
                found = answer_sources.read(self.path(model, ""), sources)
                if kind == "self":
                    judging = self.judge(judge, stage.name)
                    counts = rewards.write_judgments(judging, asked, found, path=path, reporter=self.reporter)
                    self.tidy(judge, path, rewards.judge_items(asked, found))
                elif kind in ("reward-model", "implicit"):
                    counts = self.score(parent, stage, rewards.judge_items(asked, found))
                else:
                    jsonl.write(path, [])
                    counts = {"judgments": 0}
                self.finish(stage, counts, "judgments.jsonl")

    def prefer(self, model: str, *, ahead: bool = False) -> None:
        """The pairs: two answers to a prompt, one of them preferred."""
        room, sources = f"{model}/next" if ahead else model, self.paired(model, ahead=ahead)
        rooms = {"judgments": model, **({"next-judgments": f"{model}/next"} if "next" in sources else {})}
        judged = {name: self.outputs(f"{of}/judgments")["judgments.jsonl"] for name, of in rooms.items()}
        settings = {"rewards": self.config.signal_of(model), **self.config.pairs.recorded()}
        if self.kind(model) == "implicit":
            settings["alpha"] = self.config.implicit.alpha
        with self.stage(f"{room}/pairs", self.answered(model, sources) | judged, settings) as stage:
            if stage:
                self.reporter.started(stage.name, None, "pairs")
                counts = self.write_pairs(model, stage, sources, list(rooms.values()), self.sides(model, ahead=ahead))
                self.finish(stage, counts, "pairs.jsonl", "rewards.jsonl")
                for warning in self.pair_warnings(room) if self.config.learn == "preferences" else ():
                    self.reporter.message(f"Warning: {warning}")

    def write_pairs(
        self, model: str, stage: Stage, sources: Sequence[str], rooms: Sequence[str], sides: PairsConfig
    ) -> dict[str, float]:
        """Rewards and pairs, prompt by prompt; of the files that they are made of only places are held.

        Args:
            rooms: where the judgments of these sources' answers are.
            sides: whose answers are chosen and rejected.
        """
        found = Answers(
            Records(self.path(model, "prompts.jsonl"), Prompt), answer_sources.read(self.path(model, ""), sources)
        )
        files = [self.path(room, "judgments.jsonl") for room in rooms]
        judgments = answer_sources.joined([Records(file, Judgment, allow_empty=True) for file in files])
        kind, given = self.kind(model), self.given_answers(model)

        def rewarded(alpha: float) -> Iterator[tuple[Prompt, list[Completion], list[Reward]]]:
            return rewards.rewarded(
                kind, found, judgments, run_seed=self.config.seed, oracle=self.oracle, given=given, alpha=alpha
            )

        alpha = 0.0
        if kind == "implicit":
            said = self.config.implicit.alpha
            alpha = implicit.alpha_of(rewarded(0.0), judgments, sides) if said is None else said
        with jsonl.writing(stage.records_path("pairs.jsonl")) as add_pairs:
            with jsonl.writing(stage.records_path("rewards.jsonl")) as add_rewards:

                def take(made: list[PreferencePair], rewards_: list[Reward]) -> None:
                    add_pairs(made)
                    add_rewards(rewards_)

                counts = pairs.pair_up(lambda: rewarded(alpha), sides, self.config.seed, take)
            if self.config.learn == "preferences":
                checks.require_pairs(stage.name, counts)
        return counts if kind != "implicit" else {**counts, "alpha": alpha}

    def given_answers(self, model: str) -> dict[str, str]:
        """The answers that came with the round's prompts, where its reward needs them."""
        if self.kind(model) != "verifiable":
            return {}
        return {c.prompt_id: c.text for c in jsonl.read(self.path(model, "given.jsonl"), Completion)}
