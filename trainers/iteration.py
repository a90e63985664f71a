"""The self-rewarding loop: makes the next model of a run, stage by stage, and checks itself while it does.

M1 is M0 fine-tuned on IFT and EFT. M_t+1 is M_t trained by DPO on preferences that M_t itself made: prompts,
candidates, judgments, pairs. A stage is skipped when done, refused when its inputs changed, resumed if it was cut off.
What a stage does is in the module of its name; this one only puts them in order.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from selfreward_bench.config import RANKS
from selfreward_bench.errors import IncompatibleRunError, UnknownNameError
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.models.opening import Services
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.model_files import files_fingerprint
from selfreward_bench.storage.records import Records
from selfreward_bench.storage.rundir import RunDir, Stage, hash_json
from selfreward_bench.types import Completion, Example, Judgment, PreferencePair, Prompt, Reward
from trainers import (
    candidates,
    checks,
    eft,
    given,
    learning,
    pairs,
    positives,
    prompts,
    rehearsal,
    rewards,
    roles,
    seeds,
    selection,
)
from trainers.answers import Answers
from trainers.checkpoints import logit_probe, read_card
from trainers.commands import require as require_launch
from trainers.dpo import check_first_step, first_loss_tolerance
from trainers.examination import examine_run
from trainers.isolation import run_training
from trainers.launchers import one_process
from trainers.rehearsing import Rehearsal
from trainers.rewards import Oracle
from trainers.selecting import Selecting
from trainers.stages import BASELINE, check_model, models, parent_of, stages
from trainers.tracking import tracking_of
from trainers.training import TrainResult
from trainers.workshop import BASE_FILES, StopBefore, base_directory, checkpoint_of

_REHEARSAL_LOSSES = ("first_rehearsal_loss", "final_rehearsal_loss")


@dataclass(frozen=True)
class Iteration:
    """One model of a run and how it came to be; kept as ``iteration.json`` beside its checkpoint.

    Attributes:
        rewards: what it was trained on: ``self``, ``rlaif`` (another model's judgments), a control; ``none``: by SFT.
        judge: who judged instead of the parent; None where nobody did.
        warnings: what makes it doubtful that this round taught anything (``trainers.learning``).
        lora: as in ``ModelCard``.
        rehearsal: judgments trained beside the preferences: ``what``, ``weight``, ``size`` and ``alone`` as in the
            recipe, and ``from_the_model`` and ``from_people``: how many are the model's own work, and how many are made
            of human seed data used again. None where there were none.
        selection: which step was kept, by whom, and the contests (``trainers.selection``); None where the last one was.
    """

    model: str
    parent: str
    fingerprint: str
    parent_fingerprint: str
    rewards: str
    counts: dict[str, dict[str, float]]
    checks: dict[str, str]
    probe: list[float]
    warnings: tuple[str, ...] = ()
    lora: dict[str, Any] | None = None
    judge: str | None = None
    rehearsal: dict[str, Any] | None = None
    selection: dict[str, Any] | None = None


def finished_models(run: RunDir) -> list[str]:
    """The models of a run that are complete, in order."""
    return [m for m in models(run.config) if (run.path / m / "iteration.json").exists()]


def next_model(run: RunDir) -> str | None:
    """The next model `srbench run-iteration` makes; None when the run has all of them."""
    done = finished_models(run)
    return next((m for m in models(run.config) if m not in done and m != BASELINE), None)


def run_iteration(
    run: RunDir,
    *,
    until: str | None = None,
    from_stage: str | None = None,
    oracle: Oracle | None = None,
    reporter: Reporter | None = None,
    preflight: bool = True,
    services: Services | None = None,
) -> list[Iteration]:
    """Makes the next model of a run, or all up to ``until``.

    Args:
        until: name of the last model to make (``M3``); None makes one.
        from_stage: deletes this stage and all later ones first (``M2/candidates``).
        oracle: grades a response truly; only for the reward control ``rewards: oracle``.
        reporter: told the course of the work.
        preflight: whether a round in small is trained on the base before anything else, once (``trainers.preflight``).
        services: store, prices and budget of served models that help; None takes the user's store, without a limit.

    Returns:
        The models made now, in order (the baseline first when it was trained now).

    Raises:
        EngineError: the base cannot be trained with these settings.
        LoopViolation: a check of the loop itself failed; nothing is made from what failed.
        IncompatibleRunError: a stage was made with other inputs or settings; the message names them.
        TrainingError: training could not go on; the last good state is kept.
        ConfigError: torchrun started this process and others beside it, or a role cannot be filled.
    """
    loop = _Loop(run, reporter or Silent(), oracle, services=services)
    with one_process(loop.reporter.message), run.lock(), closing(loop):
        if from_stage:
            check_stages(run, from_stage, oracle)  # what stays must fit, or nothing is deleted
            run.reset_from(from_stage, [(s.name, s.paths) for s in stages(run.config)])
        last = until or next_model(run)
        if last is None:
            return []
        check_model(run.config, last)
        if last not in finished_models(run):
            require_launch(run.config.train)
            loop.helpers.check()  # what is wrong with names, keys and seed data is said first: it takes no time
            loop.seed_ift()
            examine_run(run, base_directory(run.config), flight=preflight, reporter=loop.reporter)
        made = []
        for model in models(run.config):
            before = (run.path / model / "iteration.json").exists()
            iteration = loop.make(model)
            if not before:
                made.append(iteration)
            if model == last:
                break
        return made


def check_stages(run: RunDir, before: str, oracle: Oracle | None = None) -> None:
    """Checks that what stands before a stage was made with the run's settings and inputs. Nothing is written.

    Raises:
        UnknownNameError: the run has no such stage.
        IncompatibleRunError: an earlier stage was made with something else.
    """
    if before not in (names := [s.name for s in stages(run.config)]):
        raise UnknownNameError("stage", before, names)
    try:
        loop = _Loop(run, Silent(), oracle, stop_before=before)
        for model in models(run.config):
            loop.make(model)
    except StopBefore:
        return


def first_change(run: RunDir) -> str | None:
    """The first stage that the run's settings and inputs do not fit, or that is not made yet; None where all fit.

    Args:
        run: a run's directory, with settings that may be other than its own.
    """
    loop = _Loop(run, Silent(), None, stop_before="none")
    try:
        for model in models(run.config):
            loop.make(model)
    except (StopBefore, IncompatibleRunError):
        return loop.reached
    return None


class _Loop(Selecting):
    """The stages of a run, each with what it is made from."""

    def make(self, model: str) -> Iteration:
        """The model's stages, each made, gone on with or found done; then its record."""
        return self.supervised(model) if parent_of(model) == "M0" else self.preferences(model)

    # ---- M1 and the baseline ---------------------------------------------------------------------------------------

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
        self.train(model, "sft", examples, inputs, self.config.sft.model_dump())
        names = ["M1/ift", f"{model}/train"] if model == BASELINE else ["M1/ift", "M1/reviews", "M1/eft", "M1/train"]
        return self.conclude(model, names)

    def mixed_examples(self) -> list[Example]:
        ift = jsonl.read(self.path("M1", "ift.jsonl"), Example)
        judging = jsonl.read(self.path("M1", "eft.jsonl"), Example)
        repeated = [
            e if i == 0 else e.model_copy(update={"id": f"{e.id}#{i}"})
            for i in range(self.config.sft.eft_repeat)
            for e in judging
        ]
        return ift + repeated

    def seed_ift(self) -> None:
        section = self.config.seeds
        settings: dict[str, object] = {
            "ift": section.ift,
            "size": section.ift_size,
            "excluded": section.exclude,
        }
        facts = seeds.facts(section)
        if facts:
            settings["read"] = facts
        with self.stage("M1/ift", {}, settings) as stage:
            if stage:
                self.reporter.started(stage.name, None, "examples")
                examples = seeds.load_ift(section, self.config.seed)
                seeds.load_eft(section, self.config.seed)  # what is wrong with it is said before anything is trained
                jsonl.write(stage.records_path("ift.jsonl"), examples)
                counts = {"examples": len(examples)}
                if read := facts.get("ift"):
                    counts |= {name: int(read[name]) for name in ("rows", "bad", "duplicates")}
                self.finish(stage, counts, "ift.jsonl")

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
            self.train(BASELINE, "sft", baseline, inputs, self.config.sft.model_dump())
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

    # ---- M2, M3, ... -----------------------------------------------------------------------------------------------

    def preferences(self, model: str) -> Iteration:
        """DPO from the parent on preferences that the parent made."""
        parent = parent_of(model)
        self.fingerprint(parent)  # an exchanged parent is refused before anything is made, or deleted
        self.new_prompts(model, parent)
        self.answer(model, parent)
        self.reward(model, parent)
        self.prefer(model)
        self.check_preferences(model, parent)
        records = jsonl.read(self.path(model, "pairs.jsonl"), PreferencePair)
        names = ["prompts", "candidates", "judgments", "pairs"]
        if self.config.learn == "positives":
            return self.learn_positives(model, names)
        inputs: dict[str, str] = {"pairs": self.outputs(f"{model}/pairs")["pairs.jsonl"]}
        settings: dict[str, object] = self.config.dpo.recorded()
        if self.config.rehearsal.what:
            self.rehearse(model, parent, len(records))
            names.append("rehearsal")
            inputs["rehearsal"] = self.outputs(f"{model}/rehearsal")["rehearsal.jsonl"]
            settings["rehearsal"] = self.config.rehearsal.model_dump()
        self.train(model, "dpo", records, inputs, settings)
        return self.conclude(model, [f"{model}/{s}" for s in (*names, "train")])

    def learn_positives(self, model: str, names: list[str]) -> Iteration:
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
                    jsonl.read(self.path(model, "prompts.jsonl"), Prompt),
                    jsonl.read(self.path(model, "completions.jsonl"), Completion),
                    jsonl.read(self.path(model, "rewards.jsonl"), Reward),
                    load_judge_prompt(self.config.judge.prompt),
                )
                jsonl.write(stage.records_path("positives.jsonl"), result.examples)
                self.finish(stage, result.counts, "positives.jsonl")
        rounds = [f"M{i}" for i in range(2, int(model[1:]) + 1)]
        inputs = {name: self.outputs(f"M1/{name}")[f"{name}.jsonl"] for name in ("ift", "eft")}
        inputs |= {f"positives-{m}": self.outputs(f"{m}/positives")["positives.jsonl"] for m in rounds}
        added = [e for m in rounds for e in jsonl.read(self.path(m, "positives.jsonl"), Example, allow_empty=True)]
        self.train(model, "sft", self.mixed_examples() + added, inputs, self.config.sft.model_dump(), parent="M0")
        return self.conclude(model, [f"{model}/{s}" for s in (*names, "positives", "train")], parent="M0")

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
                        jsonl.read(self.path(model, "prompts.jsonl"), Prompt),
                        jsonl.read(self.path(model, "completions.jsonl"), Completion),
                        jsonl.read(self.path(model, "judgments.jsonl"), Judgment, allow_empty=True),
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

    def check_preferences(self, model: str, parent: str) -> None:
        """The candidates must be of the parent's weights, and the pairs of the candidates."""
        answered = self.run.finished_stage(f"{model}/candidates")
        made_by = answered.inputs.get("model") if answered else None
        checks.check_candidates(model, parent, made_by, self.fingerprint(parent))
        path = self.path(model, "pairs.jsonl")
        answers = jsonl.iterate(self.path(model, "completions.jsonl"), Completion)
        checks.check_pairs(path, model, jsonl.iterate(path, PreferencePair), answers)

    def earlier_prompts(self, model: str) -> list[Prompt]:
        """The prompts of all earlier rounds, which new ones must not repeat."""
        rounds = [f"M{i}" for i in range(2, int(model[1:]))]
        return [p for m in rounds for p in jsonl.read(self.path(m, "prompts.jsonl"), Prompt)]

    def seed_prompts(self) -> list[Prompt]:
        ift = jsonl.read(self.path("M1", "ift.jsonl"), Example)
        return [Prompt(id=e.id, messages=e.prompt, source=e.source) for e in ift]

    def new_prompts(self, model: str, parent: str) -> None:
        inputs = {
            "seeds": self.outputs("M1/ift")["ift.jsonl"],
            **{f"pool-M{i}": self.outputs(f"M{i}/prompts")["prompts.jsonl"] for i in range(2, int(model[1:]))},
        }
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
        found = given.load_prompts(section.writer)
        settings = {"writer": "a file", "count": section.count, "max_rouge_l": section.max_rouge_l}
        with self.stage(f"{model}/prompts", inputs | {"file": given.digest(found)}, settings) as stage:
            if stage:
                counts = given.take_prompts(
                    found,
                    section,
                    path=stage.records_path("prompts.jsonl"),
                    used=[*self.seed_prompts(), *self.earlier_prompts(model)],
                    excluded=seeds.load_excluded(self.config.seeds),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self.finish(stage, counts, "prompts.jsonl")

    def answer(self, model: str, parent: str) -> None:
        inputs = {"prompts": self.outputs(f"{model}/prompts")["prompts.jsonl"], "model": self.fingerprint(parent)}
        with self.stage(f"{model}/candidates", inputs, self.config.candidates.model_dump()) as stage:
            if stage:
                counts = candidates.write_candidates(
                    self.engine(parent),
                    Records(self.path(model, "prompts.jsonl"), Prompt),
                    self.config.candidates,
                    path=stage.records_path("completions.jsonl"),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self.finish(stage, counts, "completions.jsonl")

    def reward(self, model: str, parent: str) -> None:
        """The parent judges its own answers, or who is named for it; a control reward needs no judgment."""
        judge = roles.who(self.config, roles.JUDGE, parent) if self.config.rewards == "self" else parent
        inputs = {
            "completions": self.outputs(f"{model}/candidates")["completions.jsonl"],
            "model": self.fingerprint(parent),
        }
        if judge != parent:
            inputs["judge"] = self.fingerprint(judge)
        settings: dict[str, object] = {"judge": self.config.judge.without_request(), "rewards": self.config.rewards}
        settings |= self.rendering(judge)
        with self.stage(f"{model}/judgments", inputs, settings) as stage:
            if stage:
                path = stage.records_path("judgments.jsonl")
                if self.config.rewards == "self":
                    asked = Records(self.path(model, "prompts.jsonl"), Prompt)
                    answers = Records(self.path(model, "completions.jsonl"), Completion)
                    judging = self.judge(judge, stage.name)
                    counts = rewards.write_judgments(judging, asked, answers, path=path, reporter=self.reporter)
                    self.tidy(judge, path, rewards.judge_items(asked, answers))
                else:
                    jsonl.write(path, [])
                    counts = {"judgments": 0}
                self.finish(stage, counts, "judgments.jsonl")

    def prefer(self, model: str) -> None:
        inputs = {
            "completions": self.outputs(f"{model}/candidates")["completions.jsonl"],
            "judgments": self.outputs(f"{model}/judgments")["judgments.jsonl"],
        }
        settings = {"rewards": self.config.signal, **self.config.pairs.recorded()}
        with self.stage(f"{model}/pairs", inputs, settings) as stage:
            if stage:
                self.reporter.started(stage.name, None, "pairs")
                counts = self.write_pairs(model, stage)
                self.finish(stage, counts, "pairs.jsonl", "rewards.jsonl")
                for warning in self.pair_warnings(model):
                    self.reporter.message(f"Warning: {warning}")

    def write_pairs(self, model: str, stage: Stage) -> dict[str, float]:
        """Rewards and pairs, prompt by prompt; of the files that they are made of only places are held."""
        answers = Answers(
            Records(self.path(model, "prompts.jsonl"), Prompt),
            Records(self.path(model, "completions.jsonl"), Completion),
        )
        judgments = Records(self.path(model, "judgments.jsonl"), Judgment, allow_empty=True)
        kind, seed = self.config.rewards, self.config.seed
        with jsonl.writing(stage.records_path("pairs.jsonl")) as add_pairs:
            with jsonl.writing(stage.records_path("rewards.jsonl")) as add_rewards:

                def take(found: list[PreferencePair], rewards_: list[Reward]) -> None:
                    add_pairs(found)
                    add_rewards(rewards_)

                counts = pairs.pair_up(
                    lambda: rewards.rewarded(kind, answers, judgments, run_seed=seed, oracle=self.oracle),
                    self.config.pairs,
                    seed,
                    take,
                )
            checks.require_pairs(model, counts)
        return counts

    def pair_warnings(self, model: str) -> list[str]:
        stage = self.run.finished_stage(f"{model}/pairs")
        if stage is None:
            return []
        scored = jsonl.iterate(self.path(model, "rewards.jsonl"), Reward)
        judge = self.config.judge if self.config.rewards == "self" else None
        return list(learning.pair_warnings(model, stage.counts, scored, judge))

    # ---- training and the loop's checks ----------------------------------------------------------------------------

    def train(
        self,
        model: str,
        kind: str,
        records: list[Any],
        inputs: dict[str, str],
        settings: dict[str, object],
        parent: str | None = None,
    ) -> None:
        parent = parent or parent_of(model)
        inputs = inputs | {"model": self.fingerprint(parent)}
        lora = self.config.lora
        if lora:
            settings = settings | {"lora": lora.model_dump()}
        if kind == "dpo" and self.config.select.every:
            settings = settings | {"select": self.config.select.model_dump(exclude={"judge", "prompts"})}
            inputs = inputs | self.selection_inputs(parent)
        with self.stage(f"{model}/train", inputs, settings | self.rendering(parent)) as stage:
            if stage:
                self.close()
                section = self.config.dpo if kind == "dpo" else self.config.sft
                begin = partial(
                    run_training,
                    kind,
                    checkpoint_of(self.run, parent),
                    records,
                    section,
                    stage.directory,
                    seed=self.config.seed,
                    threads=self.config.threads,
                    chat_template=self.chat_template(parent),
                    reporter=self.reporter,
                    stage=stage.name,
                    engine=self.config.engine,
                    lora=lora,
                    track=tracking_of(self.run, model),
                    rehearsal=self.rehearsed(model) if kind == "dpo" else None,
                    train=self.config.train,
                )
                selecting = kind == "dpo" and self.config.select.every
                result = self.selected(stage, parent, begin) if selecting else begin()
                if kind == "dpo":
                    tolerance = first_loss_tolerance(checkpoint_of(self.run, parent), self.config.dpo, lora)
                    check_first_step(result, tolerance, self.config.dpo)
                made = {"checkpoint": self.fingerprint(model), "files": files_fingerprint(result.checkpoint)}
                if parent == "M0":
                    made[BASE_FILES] = files_fingerprint(checkpoint_of(self.run, parent))
                kept = selection.record_of(stage.directory) if selecting else None
                chosen = {"kept_step": kept["chosen"]} if kept else {}
                stage.finish(_training_counts(result, len(records)) | chosen, made)

    def rehearsed(self, model: str) -> Rehearsal | None:
        """What a preference training rehearses."""
        if not self.config.rehearsal.what:
            return None
        examples = jsonl.read(self.path(model, "rehearsal.jsonl"), Example)
        return Rehearsal(tuple(examples), self.config.rehearsal)

    def rehearsal_record(self, model: str) -> dict[str, Any] | None:
        stage = self.run.finished_stage(f"{model}/rehearsal")
        if stage is None or not self.config.rehearsal.what:
            return None
        people = int(stage.counts["of_people"])
        told = {"from_the_model": int(stage.counts["examples"]) - people, "from_people": people}
        return self.config.rehearsal.model_dump(mode="json") | told

    def conclude(self, model: str, names: list[str], parent: str | None = None) -> Iteration:
        """Checks the new weights against the parent's and writes ``iteration.json``, last."""
        parent = parent or parent_of(model)
        rewarded, preferred = parent_of(model) != "M0", parent != "M0"
        path = self.path(model, "iteration.json")
        if path.exists():
            return Iteration(**json.loads(path.read_text(encoding="utf-8")))
        if self.stop_before:
            raise StopBefore
        trusted = self.config.engine.trust_remote_code
        before, after = (logit_probe(checkpoint_of(self.run, m), trust_remote_code=trusted) for m in (parent, model))
        prints = (self.fingerprint(model), self.fingerprint(parent))
        change = checks.check_weights(model, parent, prints, (after, before))
        found = {name: self.run.finished_stage(name) for name in names}
        learnt = list(learning.training_warnings(model, self.path(model, "log.jsonl"))) if preferred else []
        for warning in learnt:
            self.reporter.message(f"Warning: {warning}")
        iteration = Iteration(
            model=model,
            parent=parent,
            fingerprint=self.fingerprint(model),
            parent_fingerprint=self.fingerprint(parent),
            rewards=self.config.signal if rewarded else "none",
            counts={name: dict(stage.counts) for name, stage in found.items() if stage},
            checks={
                "weights_differ_from_parent": "passed",
                "largest_logit_change": f"{change:.4g}",
                **({"pairs_come_from_parent": "passed", "first_dpo_loss_is_ln2": "passed"} if preferred else {}),
            },
            probe=after,
            warnings=(*(self.pair_warnings(model) if preferred else ()), *learnt),
            lora=card.lora if (card := read_card(checkpoint_of(self.run, model))) else None,
            judge=roles.shown(self.config, roles.JUDGE) if rewarded and self.config.signal == "rlaif" else None,
            rehearsal=self.rehearsal_record(model),
            selection=selection.record_of(self.run.path / model) if preferred else None,
        )
        kept = {key: value for key, value in asdict(iteration).items() if value is not None}
        write_atomic(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())
        return iteration


def _training_counts(result: TrainResult, records: int) -> dict[str, float]:
    return {
        "records": records,
        "truncated": result.truncated,
        **({} if result.first_dpo_loss is None else {"equal": result.equal}),
        **({"rehearsed": result.rehearsed} if result.rehearsed else {}),
        "steps": result.steps,
        "tokens": result.tokens,
        "first_loss": result.first_loss,
        "final_loss": result.final_loss,
        **(dict(zip(_REHEARSAL_LOSSES, result.rehearsal_losses, strict=True)) if result.rehearsal_losses else {}),
    }
