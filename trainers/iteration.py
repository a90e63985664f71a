"""The self-rewarding loop: makes the next model of a run, stage by stage, and checks itself while it does.

M1 is M0 fine-tuned on IFT and EFT. M_t+1 is M_t trained by DPO on preferences that M_t itself made: prompts,
candidates, judgments, pairs. A stage is skipped when done, refused when its inputs changed, resumed if it was cut off.
What a stage does is in the module of its name; this one only puts them in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from selfreward_bench.config import RunConfig
from selfreward_bench.engines import open_engine
from selfreward_bench.engines.base import Engine
from selfreward_bench.engines.templates import Chosen, of_run
from selfreward_bench.errors import IncompatibleRunError, LoopViolation, UnknownNameError
from selfreward_bench.judges.pointwise import JudgeItem, PointwiseJudge
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.micro import base_path
from selfreward_bench.progress import Reporter, Silent
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.storage.rundir import RunDir, Stage, hash_file, hash_json
from selfreward_bench.types import Completion, Example, Judgment, PreferencePair, Prompt, Reward
from trainers import candidates, checks, eft, learning, pairs, prompts, rewards, seeds
from trainers.checkpoints import logit_probe, read_card
from trainers.dpo import check_first_step, first_loss_tolerance
from trainers.examination import examine_run
from trainers.isolation import run_training
from trainers.launchers import one_process
from trainers.rendering import local_directory
from trainers.stages import BASELINE, check_model, models, parent_of, stages
from trainers.tracking import tracking_of
from trainers.training import TrainResult

Oracle = Callable[[Prompt, str], float | None]


@dataclass(frozen=True)
class Iteration:
    """One model of a run and how it came to be; kept as ``iteration.json`` beside its checkpoint.

    Attributes:
        warnings: what makes it doubtful that this round taught anything (``trainers.learning``).
        lora: as in ``ModelCard``.
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


def base_directory(config: RunConfig) -> Path:
    """Where M0 is: the embedded base, or what the recipe names (a hub id is downloaded when it is first asked for).

    Raises:
        EngineError: the recipe names no directory and nothing the hub can give, or no whole checkpoint in safetensors.
    """
    return base_path() if config.base == "micro" else _directory_of(config.base)


@cache
def _directory_of(base: str) -> Path:
    return local_directory(base)


def checkpoint_of(run: RunDir, model: str) -> Path:
    """The directory of a model's weights; ``M0`` is the base."""
    return base_directory(run.config) if model == "M0" else run.path / model / "checkpoint"


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
) -> list[Iteration]:
    """Makes the next model of a run, or all up to ``until``.

    Args:
        until: name of the last model to make (``M3``); None makes one.
        from_stage: deletes this stage and all later ones first (``M2/candidates``).
        oracle: grades a response truly; only for the reward control ``rewards: oracle``.
        reporter: told the course of the work.
        preflight: whether a round in small is trained on the base before anything else, once (``trainers.preflight``).

    Returns:
        The models made now, in order (the baseline first when it was trained now).

    Raises:
        EngineError: the base cannot be trained with these settings.
        LoopViolation: a check of the loop itself failed; nothing is made from what failed.
        IncompatibleRunError: a stage was made with other inputs or settings; the message names them.
        TrainingError: training could not go on; the last good state is kept.
        ConfigError: torchrun started this process and others beside it.
    """
    loop = _Loop(run, reporter or Silent(), oracle)
    with one_process(loop.reporter.message), run.lock():
        if from_stage:
            check_stages(run, from_stage, oracle)  # what stays must fit, or nothing is deleted
            run.reset_from(from_stage, [(s.name, s.paths) for s in stages(run.config)])
        last = until or next_model(run)
        if last is None:
            return []
        check_model(run.config, last)
        if last not in finished_models(run):
            loop.seed_ift()  # what is wrong with the seed data is said first: it takes no time
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
    except _StopBefore:
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
    except (_StopBefore, IncompatibleRunError):
        return loop.reached
    return None


_COMPUTED = ("reviews", "prompts", "candidates", "judgments", "train")  # stages whose numbers a model's kernels decide


class _StopBefore(Exception):
    """The stage is reached that was not to be looked at, or one that is not made yet."""


class _Loop:
    """One call's state: the run, who listens, and the engine that is open.

    Args:
        stop_before: only what stands before this stage is compared with what it was made from; raises ``_StopBefore``.
    """

    def __init__(
        self, run: RunDir, reporter: Reporter, oracle: Oracle | None, *, stop_before: str | None = None
    ) -> None:
        self.stop_before = stop_before
        self.reached = ""  # the stage that was looked at last
        self.run = run
        self.config = run.config
        self.reporter = reporter
        self.oracle = oracle
        self.fingerprints: dict[str, str] = {}
        self._engine: tuple[str, Engine] | None = None

    def make(self, model: str) -> Iteration:
        """The model's stages, each made, gone on with or found done; then its record."""
        return self.supervised(model) if parent_of(model) == "M0" else self.preferences(model)

    # ---- stages in general -----------------------------------------------------------------------------------------

    @contextmanager
    def stage(self, name: str, inputs: Mapping[str, str], settings: Mapping[str, object]) -> Iterator[Stage | None]:
        """Yields the stage to be worked on, or None when it is done already."""
        self.reached = name
        if self.stop_before and (name == self.stop_before or self.run.stage_status(name) == "new"):
            raise _StopBefore
        computed = self.config.engine.numerics if name.partition("/")[2] in _COMPUTED else {}
        stage = self.run.stage(name, inputs, {"seed": self.config.seed, **settings, **computed})
        if self.stop_before and stage.status != "done":
            raise _StopBefore
        if stage.status == "done":
            self.reporter.finished(name, stage.counts, stage.seconds, skipped=True)
            yield None
            return
        yield stage
        self.reporter.finished(name, stage.counts, stage.seconds)

    def outputs(self, name: str) -> dict[str, str]:
        """What a finished stage made: file -> hash."""
        stage = self.run.finished_stage(name)
        if stage is None:
            raise LoopViolation(f"{self.run.path}: stage {name} is not complete, but a later one needs it.")
        return stage.outputs

    def path(self, model: str, file: str) -> Path:
        return self.run.path / model / file

    def fingerprint(self, model: str) -> str:
        if model not in self.fingerprints:
            self.fingerprints[model] = weights_fingerprint(checkpoint_of(self.run, model))
        return self.fingerprints[model]

    def engine(self, model: str) -> Engine:
        """The engine on a model's weights; one is open at a time."""
        if self._engine and self._engine[0] != model:
            self.close_engine()
        if self._engine is None:
            opened = open_engine(
                self.config.engine,
                checkpoint_of(self.run, model),
                threads=self.config.threads,
                chat_template=self.chat_template(model),
            )
            self._engine = (model, opened)
        return self._engine[1]

    def chat_template(self, model: str) -> str | None:
        """What renders a model's messages instead of its own template; told."""
        chosen = of_run(self.config, model, checkpoint_of(self.run, model))
        if chosen and (told := chosen.told(model)):
            self.reporter.message(told)
        return chosen.given if chosen else None

    def rendering(self, model: str) -> dict[str, str]:
        """For the settings of a stage that works with a model: the template that the recipe names for it."""
        named = self.config.chat_template
        return {"chat_template": Chosen(named).key} if model == "M0" and named is not None else {}

    def close_engine(self) -> None:
        if self._engine:
            self._engine[1].close()
        self._engine = None

    def judge(self, model: str, stage: str) -> PointwiseJudge:
        return PointwiseJudge.from_config(
            self.engine(model),
            self.config.judge,
            run_seed=self.config.seed,
            stage=stage,
            checkpoint=self.fingerprint(model),
        )

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
                self._finish(stage, counts, "ift.jsonl")

    def seed_eft(self) -> None:
        """Reviews where the data brings none (by the SFT baseline, as in the paper), then filtered EFT examples."""
        section = self.config.seeds
        ranked = seeds.load_eft(section, self.config.seed)
        bare = [
            JudgeItem(p.id, i, p.messages, r.text)
            for p in ranked
            for i, r in enumerate(p.responses)
            if r.review is None
        ]
        if bare:
            baseline = jsonl.read(self.path("M1", "ift.jsonl"), Example)
            inputs = {"ift": self.outputs("M1/ift")["ift.jsonl"]}
            self.train(BASELINE, "sft", baseline, inputs, self.config.sft.model_dump())
        # where the data brings all reviews, no judge is asked, and its settings decide nothing
        judge_settings = {"judge": self.config.judge.without_request(), "samples": section.eft_samples} if bare else {}
        inputs = {"ranked": hash_json(ranked)} | ({"model": self.fingerprint(BASELINE)} if bare else {})
        with self.stage("M1/reviews", inputs, judge_settings) as stage:
            if stage:
                counts = {"judgments": 0.0}
                path = stage.records_path("reviews.jsonl")
                if bare:
                    writer = replace(self.judge(BASELINE, stage.name), mode="sampled", samples=section.eft_samples)
                    counts = rewards.write_items(writer, bare, path=path, reporter=self.reporter, stage=stage.name)
                else:
                    jsonl.write(path, [])
                self._finish(stage, counts, "reviews.jsonl")
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
                self._finish(stage, result.counts, "eft.jsonl")

    # ---- M2, M3, ... -----------------------------------------------------------------------------------------------

    def preferences(self, model: str) -> Iteration:
        """DPO from the parent on preferences that the parent made."""
        parent = parent_of(model)
        self.new_prompts(model, parent)
        self.answer(model, parent)
        self.reward(model, parent)
        self.prefer(model)
        answered = self.run.finished_stage(f"{model}/candidates")
        made_by = answered.inputs.get("model") if answered else None
        checks.check_candidates(model, parent, made_by, self.fingerprint(parent))
        path = self.path(model, "pairs.jsonl")
        records = jsonl.read(path, PreferencePair)
        checks.check_pairs(path, model, records, jsonl.read(self.path(model, "completions.jsonl"), Completion))
        self.train(
            model,
            "dpo",
            records,
            {"pairs": self.outputs(f"{model}/pairs")["pairs.jsonl"]},
            self.config.dpo.model_dump(),
        )
        return self.conclude(model, [f"{model}/{s}" for s in ("prompts", "candidates", "judgments", "pairs", "train")])

    def earlier_prompts(self, model: str) -> list[Prompt]:
        """The prompts of all earlier rounds, which new ones must not repeat."""
        rounds = [f"M{i}" for i in range(2, int(model[1:]))]
        return [p for m in rounds for p in jsonl.read(self.path(m, "prompts.jsonl"), Prompt)]

    def new_prompts(self, model: str, parent: str) -> None:
        writer = "M0" if self.config.prompts.writer == "base" else parent
        inputs = {
            "writer": self.fingerprint(writer),
            "seeds": self.outputs("M1/ift")["ift.jsonl"],
            **{f"pool-M{i}": self.outputs(f"M{i}/prompts")["prompts.jsonl"] for i in range(2, int(model[1:]))},
        }
        settings = self.config.prompts.model_dump() | self.rendering(writer)
        with self.stage(f"{model}/prompts", inputs, settings) as stage:
            if stage:
                ift = jsonl.read(self.path("M1", "ift.jsonl"), Example)
                counts = prompts.write_prompts(
                    self.engine(writer),
                    self.config.prompts,
                    raw_path=stage.records_path("prompts.raw.jsonl"),
                    path=stage.records_path("prompts.jsonl"),
                    seed_prompts=[Prompt(id=e.id, messages=e.prompt, source=e.source) for e in ift],
                    pool=self.earlier_prompts(model),
                    excluded=seeds.load_excluded(self.config.seeds),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self._finish(stage, counts, "prompts.jsonl")

    def answer(self, model: str, parent: str) -> None:
        inputs = {"prompts": self.outputs(f"{model}/prompts")["prompts.jsonl"], "model": self.fingerprint(parent)}
        with self.stage(f"{model}/candidates", inputs, self.config.candidates.model_dump()) as stage:
            if stage:
                counts = candidates.write_candidates(
                    self.engine(parent),
                    jsonl.read(self.path(model, "prompts.jsonl"), Prompt),
                    self.config.candidates,
                    path=stage.records_path("completions.jsonl"),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self._finish(stage, counts, "completions.jsonl")

    def reward(self, model: str, parent: str) -> None:
        """The parent judges its own answers; a control reward needs no judgment."""
        inputs = {
            "completions": self.outputs(f"{model}/candidates")["completions.jsonl"],
            "model": self.fingerprint(parent),
        }
        settings = {"judge": self.config.judge.without_request(), "rewards": self.config.rewards}
        with self.stage(f"{model}/judgments", inputs, settings) as stage:
            if stage:
                path = stage.records_path("judgments.jsonl")
                if self.config.rewards == "self":
                    counts = rewards.write_judgments(
                        self.judge(parent, stage.name),
                        jsonl.read(self.path(model, "prompts.jsonl"), Prompt),
                        jsonl.read(self.path(model, "completions.jsonl"), Completion),
                        path=path,
                        reporter=self.reporter,
                    )
                else:
                    jsonl.write(path, [])
                    counts = {"judgments": 0}
                self._finish(stage, counts, "judgments.jsonl")

    def prefer(self, model: str) -> None:
        inputs = {
            "completions": self.outputs(f"{model}/candidates")["completions.jsonl"],
            "judgments": self.outputs(f"{model}/judgments")["judgments.jsonl"],
        }
        settings = {"rewards": self.config.rewards, **self.config.pairs.model_dump()}
        with self.stage(f"{model}/pairs", inputs, settings) as stage:
            if stage:
                self.reporter.started(stage.name, None, "pairs")
                asked = jsonl.read(self.path(model, "prompts.jsonl"), Prompt)
                answers = jsonl.read(self.path(model, "completions.jsonl"), Completion)
                given = rewards.rewards_for(
                    self.config.rewards,
                    prompts=asked,
                    completions=answers,
                    judgments=jsonl.read(self.path(model, "judgments.jsonl"), Judgment, allow_empty=True),
                    run_seed=self.config.seed,
                    oracle=self.oracle,
                )
                result = pairs.make_pairs(asked, answers, given, self.config.pairs, run_seed=self.config.seed)
                jsonl.write(stage.records_path("rewards.jsonl"), given)
                checks.require_pairs(model, result.counts)
                jsonl.write(stage.records_path("pairs.jsonl"), result.pairs)
                self._finish(stage, result.counts, "pairs.jsonl", "rewards.jsonl")
                for warning in self.pair_warnings(model):
                    self.reporter.message(f"Warning: {warning}")

    def pair_warnings(self, model: str) -> list[str]:
        stage = self.run.finished_stage(f"{model}/pairs")
        if stage is None:
            return []
        given = jsonl.read(self.path(model, "rewards.jsonl"), Reward)
        judge = self.config.judge if self.config.rewards == "self" else None
        return list(learning.pair_warnings(model, stage.counts, given, judge))

    # ---- training and the loop's checks ----------------------------------------------------------------------------

    def train(
        self, model: str, kind: str, records: list[Any], inputs: dict[str, str], settings: dict[str, object]
    ) -> None:
        parent = parent_of(model)
        inputs = inputs | {"model": self.fingerprint(parent)}
        lora = self.config.lora
        if lora:
            settings = settings | {"lora": lora.model_dump()}
        with self.stage(f"{model}/train", inputs, settings | self.rendering(parent)) as stage:
            if stage:
                self.close_engine()
                section = self.config.dpo if kind == "dpo" else self.config.sft
                result = run_training(
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
                )
                if kind == "dpo":
                    tolerance = first_loss_tolerance(checkpoint_of(self.run, parent), self.config.dpo, lora)
                    check_first_step(result, tolerance)
                stage.finish(_training_counts(result, len(records)), {"checkpoint": self.fingerprint(model)})

    def conclude(self, model: str, names: list[str]) -> Iteration:
        """Checks the new weights against the parent's and writes ``iteration.json``, last."""
        parent = parent_of(model)
        path = self.path(model, "iteration.json")
        if path.exists():
            return Iteration(**json.loads(path.read_text(encoding="utf-8")))
        if self.stop_before:
            raise _StopBefore
        trusted = self.config.engine.trust_remote_code
        before, after = (logit_probe(checkpoint_of(self.run, m), trust_remote_code=trusted) for m in (parent, model))
        prints = (self.fingerprint(model), self.fingerprint(parent))
        change = checks.check_weights(model, parent, prints, (after, before))
        found = {name: self.run.finished_stage(name) for name in names}
        learnt = list(learning.training_warnings(model, self.path(model, "log.jsonl"))) if parent != "M0" else []
        for warning in learnt:
            self.reporter.message(f"Warning: {warning}")
        iteration = Iteration(
            model=model,
            parent=parent,
            fingerprint=self.fingerprint(model),
            parent_fingerprint=self.fingerprint(parent),
            rewards="none" if parent == "M0" else self.config.rewards,
            counts={name: dict(stage.counts) for name, stage in found.items() if stage},
            checks={
                "weights_differ_from_parent": "passed",
                "largest_logit_change": f"{change:.4g}",
                **({} if parent == "M0" else {"pairs_come_from_parent": "passed", "first_dpo_loss_is_ln2": "passed"}),
            },
            probe=after,
            warnings=(*(self.pair_warnings(model) if parent != "M0" else ()), *learnt),
            lora=card.lora if (card := read_card(checkpoint_of(self.run, model))) else None,
        )
        kept = {key: value for key, value in asdict(iteration).items() if value is not None}
        write_atomic(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())
        return iteration

    def _finish(self, stage: Stage, counts: Mapping[str, float], *files: str) -> None:
        stage.finish(counts, {file: hash_file(stage.records_path(file)) for file in files})


def _training_counts(result: TrainResult, records: int) -> dict[str, float]:
    return {
        "records": records,
        "truncated": result.truncated,
        **({} if result.first_dpo_loss is None else {"equal": result.equal}),
        "steps": result.steps,
        "tokens": result.tokens,
        "first_loss": result.first_loss,
        "final_loss": result.final_loss,
    }
