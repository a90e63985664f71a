"""What other methods put into a round of preferences (docs/methods.md): answers of others beside the parent's own,
other rewards, a model that looks ahead, a second judge, pairs of judgments.

Each is a stage of its own, which a run has only where its settings ask for it (``trainers.methods`` says which can be).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from selfreward_bench.config import SEEDS, DpoConfig, PairsConfig, Sampling
from selfreward_bench.errors import DataError
from selfreward_bench.judges.pairwise import PairwiseJudge, combine, request_id
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.judges.pointwise import rewards as mean_rewards
from selfreward_bench.judges.prompts import load_judge_prompt
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.records import Records
from selfreward_bench.storage.rundir import Stage
from selfreward_bench.types import Example, Judgment, PreferencePair, Prompt
from trainers import answer_sources, candidates, checks, implicit, meta, prompt_files, rewards, seeds
from trainers.answer_sources import named
from trainers.consistency import consistency
from trainers.making import Making
from trainers.reward_model import RewardModel
from trainers.stages import parent_of
from trainers.workshop import checkpoint_of

__all__ = ["Variants"]

_FIRST = "M1"  # the first model that answers prompts
_STAGES = {"own": "candidates", "human": "prompts", "first": "first", "next": "next/candidates"}


class Variants(Making):
    """The stages that only some methods have, and what they change in the others."""

    # ---- whose answers ---------------------------------------------------------------------------------------------

    def sources(self, model: str) -> tuple[str, ...]:
        """Whose answers are rewarded together: the parent's own, people's, those of the first model."""
        pairs = self.config.pairs
        human = ("human",) if pairs.chosen_from == "human" else ()
        first = ("first",) if "first" in named(pairs.rejected_from) and parent_of(model) != _FIRST else ()
        return ("own", *human, *first)

    def sides(self, model: str, *, ahead: bool) -> PairsConfig:
        """Whose answers are chosen and rejected; the first model's own are first ones, too."""
        section = self.config.pairs
        chosen = "own" if ahead else section.chosen_from
        rejected = section.rejected_from if "first" in self.sources(model) else "own"
        return section.model_copy(update={"chosen_from": chosen, "rejected_from": rejected})

    def answered(self, model: str, sources: Sequence[str]) -> dict[str, str]:
        """Hashes of the answers of these sources, as inputs of a stage."""
        names = {"own": "completions"}
        return {
            names.get(source, source): self.outputs(f"{model}/{_STAGES[source]}")[
                answer_sources.FILES[source].split("/")[-1]
            ]
            for source in sources
        }

    def prompts_with_answers(self, model: str, inputs: dict[str, str]) -> None:
        """Prompts that people answered: those of the seed data, or of a file."""
        section = self.config.prompts
        of_seeds = section.writer == SEEDS
        path = self.path("M1", "ift.jsonl")
        examples = jsonl.read(path, Example) if of_seeds else prompt_files.load_examples(section.writer)
        settings: dict[str, object] = {"writer": SEEDS if of_seeds else "a file with answers"}
        settings |= {"count": section.count, "max_rouge_l": section.max_rouge_l}
        inputs = inputs if of_seeds else inputs | {"file": prompt_files.digest(examples)}
        with self.stage(f"{model}/prompts", inputs, settings) as stage:
            if stage:
                counts = prompt_files.take_prompts(
                    prompt_files.asked(examples),
                    section,
                    path=stage.records_path("prompts.jsonl"),
                    used=[] if of_seeds else self.used_prompts(model),
                    excluded=seeds.load_excluded(self.config.seeds),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                taken = jsonl.read(stage.records_path("prompts.jsonl"), Prompt)
                jsonl.write(stage.records_path("given.jsonl"), prompt_files.answers_to(taken, examples, section.writer))
                self.finish(stage, counts, "prompts.jsonl", "given.jsonl")

    def used_prompts(self, model: str) -> Sequence[Prompt]:
        """The prompts of the seed data and of all earlier rounds."""
        raise NotImplementedError

    def answer_as_first(self, model: str) -> None:
        """The first model's answers to the round's prompts."""
        inputs = {"prompts": self.outputs(f"{model}/prompts")["prompts.jsonl"], "model": self.fingerprint(_FIRST)}
        self.candidates(_FIRST, f"{model}/first", inputs, model, "first.jsonl")
        self.check_made_by(f"{model}/first", _FIRST)

    def candidates(
        self, by: str, name: str, inputs: dict[str, str], model: str, file: str = "completions.jsonl"
    ) -> None:
        """A model's answers to a round's prompts, as a stage."""
        with self.stage(name, inputs, self.config.candidates.model_dump()) as stage:
            if stage:
                counts = candidates.write_candidates(
                    self.engine(by),
                    Records(self.path(model, "prompts.jsonl"), Prompt),
                    self.config.candidates,
                    path=stage.records_path(file),
                    run_seed=self.config.seed,
                    stage=stage.name,
                    reporter=self.reporter,
                )
                self.finish(stage, counts, file)

    def check_made_by(self, name: str, by: str) -> None:
        """The answers of a stage must be those of exactly these weights."""
        stage = self.run.finished_stage(name)
        checks.check_candidates(name, by, stage.inputs.get("model") if stage else None, self.fingerprint(by))

    # ---- rewards that nobody judges ---------------------------------------------------------------------------------

    def score(self, parent: str, stage: Stage, items: Sequence[JudgeItem]) -> dict[str, float]:
        """The numbers of a reward model, or of the parent's implicit reward, in the place of judgments."""
        path = stage.records_path("judgments.jsonl")
        self.close()  # the engine's model and this one would be in memory together
        if self.config.rewards == "reward-model":
            return self.reward_model.write(items, path, reporter=self.reporter, stage=stage.name)
        reference = parent_of(parent)
        return implicit.write_implicit(
            (checkpoint_of(self.run, parent), checkpoint_of(self.run, reference)),
            items,
            path,
            beta=self.config.dpo.beta,
            key=f"implicit/{self.fingerprint(parent)}/{self.fingerprint(reference)}",
            engine=self.config.engine,
            max_length=self.config.dpo.max_length,
            reporter=self.reporter,
            stage=stage.name,
        )

    def scored_by(self, model: str, parent: str) -> tuple[dict[str, str], dict[str, object]]:
        """Inputs and settings of such a reward."""
        kind = self.kind(model)
        if kind == "reward-model":
            return {"reward_model": self.reward_model.fingerprint}, {"max_length": self.config.reward_model.max_length}
        if kind == "implicit":
            reference = {"reference": self.fingerprint(parent_of(parent))}
            return reference, {"beta": self.config.dpo.beta, "max_length": self.config.dpo.max_length}
        return {}, {}

    def check_reward(self) -> None:
        """Finds out whether the reward model can be used, where there is one.

        Raises:
            EngineError: it cannot.
        """
        if self.config.rewards == "reward-model":
            self.reward_model.check()

    @cached_property
    def reward_model(self) -> RewardModel:
        return RewardModel(self.config.reward_model, self.config.engine)

    def kind(self, model: str) -> str:
        """A round's reward, as ``trainers.rewards`` names it."""
        signal = self.config.signal_of(model)
        return "self" if signal == "rlaif" else signal

    # ---- Temporal Self-Rewarding: a look ahead ----------------------------------------------------------------------

    def look_ahead(self, model: str, parent: str) -> None:
        """A model one step ahead of the parent, trained on the round's first pairs, answers the same prompts."""
        ahead = f"{model}/next"
        self.prefer(model, ahead=True)
        records = Records(self.path(ahead, "pairs.jsonl"), PreferencePair)
        inputs = {"pairs": self.outputs(f"{ahead}/pairs")["pairs.jsonl"]}
        self.train(ahead, "dpo", records, inputs, self.config.dpo)
        asked = {"prompts": self.outputs(f"{model}/prompts")["prompts.jsonl"], "model": self.fingerprint(ahead)}
        self.candidates(ahead, f"{ahead}/candidates", asked, model)
        self.check_made_by(f"{ahead}/candidates", ahead)
        self.reward(model, parent, ahead=True)

    def prefer(self, model: str, *, ahead: bool = False) -> None:
        """The pairs of a round."""
        raise NotImplementedError

    def reward(self, model: str, parent: str, *, ahead: bool = False) -> None:
        """The rewards of a round's answers."""
        raise NotImplementedError

    # ---- CREAM: a second judge --------------------------------------------------------------------------------------

    def agree(self, model: str, parent: str) -> None:
        """The model before the parent judges the parent's answers, too."""
        earlier = parent_of(parent)
        inputs = self.answered(model, ("own",)) | {
            "judgments": self.outputs(f"{model}/judgments")["judgments.jsonl"],
            "model": self.fingerprint(earlier),
        }
        with self.stage(f"{model}/consistency", inputs, {"judge": self.config.judge.without_request()}) as stage:
            if stage:
                asked = jsonl.read(self.path(model, "prompts.jsonl"), Prompt)
                own = answer_sources.read(self.path(model, ""), ("own",))
                path = stage.records_path("earlier.jsonl")
                counts = rewards.write_judgments(
                    self.judge(earlier, stage.name), asked, own, path=path, reporter=self.reporter
                )
                now, then = (
                    mean_rewards(jsonl.read(file, Judgment)) for file in (self.path(model, "judgments.jsonl"), path)
                )
                self.finish(stage, counts | consistency(now, then), "earlier.jsonl")

    def preference_section(self, model: str) -> DpoConfig:
        """DPO's settings; by CREAM its label smoothing is what the two judges do not agree on."""
        stage = self.run.finished_stage(f"{model}/consistency") if self.config.consistency else None
        if stage is None:
            return self.config.dpo
        smoothing = round(1 - stage.counts["consistency"], 6)
        return self.config.dpo.model_copy(update={"label_smoothing": smoothing})

    # ---- Meta-Rewarding: pairs of judgments -------------------------------------------------------------------------

    def judge_pairs(self, model: str, parent: str) -> list[PreferencePair]:
        """Preferences between the parent's judgments."""
        section = self.config.meta
        prompt = load_judge_prompt(self.config.judge.prompt)
        sources = self.sources(model)
        inputs = self.answered(model, sources) | {"judgments": self.outputs(f"{model}/judgments")["judgments.jsonl"]}
        settings: dict[str, object] = {"by": section.by, "judge": prompt.key}
        if section.by == "elo":
            inputs["model"] = self.fingerprint(parent)
            settings |= {"prompt": load_judge_prompt(section.prompt).key, "max_new_tokens": section.max_new_tokens}
        else:
            settings["min_gap"] = section.min_gap
        with self.stage(f"{model}/meta", inputs, settings) as stage:
            if stage:
                judged = meta.most_disputed(
                    jsonl.read(self.path(model, "prompts.jsonl"), Prompt),
                    answer_sources.read(self.path(model, ""), sources),
                    jsonl.read(self.path(model, "judgments.jsonl"), Judgment),
                    prompt,
                )
                self.reporter.started(stage.name, None, "pairs")
                if section.by == "elo":
                    pairs, compared = self._by_elo(parent, judged, stage)
                else:
                    pairs, compared = list(meta.prefer_by_consensus(judged, section.min_gap)), {}
                jsonl.write(stage.records_path("judge-pairs.jsonl"), pairs)
                self.finish(stage, {"disputed": len(judged), **compared, "pairs": len(pairs)}, "judge-pairs.jsonl")
        return jsonl.read(self.path(model, "judge-pairs.jsonl"), PreferencePair, allow_empty=True)

    def _by_elo(
        self, parent: str, judged: Sequence[meta.Judged], stage: Stage
    ) -> tuple[list[PreferencePair], dict[str, float]]:
        asked = list(meta.comparisons(judged))
        judge = PairwiseJudge(
            self.engine(parent),
            load_judge_prompt(self.config.meta.prompt),
            Sampling(temperature=0.0, top_p=1.0, max_new_tokens=self.config.meta.max_new_tokens),
            self.config.seed,
            stage.name,
            self.fingerprint(parent),
        )
        path = stage.records_path("comparisons.jsonl")
        stored = {request_id(j): j for j in jsonl.resume(path, Judgment, unique=lambda j: j.id)}
        jsonl.append(path, [])
        for batch in judge.judge([item for item, _ in asked], set(stored)):
            new = [j for j in batch if request_id(j) not in stored]
            jsonl.append(path, new)
            stored.update((request_id(j), j) for j in new)
        results = combine(stored.values())
        who = {(item.prompt_id, item.index): samples for item, samples in asked}
        parsed = sum(result.score is not None for result in results)
        counts: dict[str, float] = {"comparisons": len(results), "parsed": parsed}
        counts["consistent"] = sum(bool(result.consistent) for result in results)
        if results and not parsed:
            raise DataError(
                f"{stage.name}: none of the {len(results)} comparisons of judgments gave a verdict that can be read: "
                "this model does not answer the meta-judge's prompt. Give it another one (meta.prompt), or let the "
                "judgments' mean decide: meta.by: consensus."
            )
        return list(meta.prefer_by_elo(judged, results, who)), counts

    def told(self, model: str) -> dict[str, Any] | None:
        """For the record: what of the preferences is not as in the paper; None where all is."""
        section = self.preference_section(model)
        changed: dict[str, Any] = {"loss": section.loss} if section.loss != "sigmoid" else {}
        if section.label_smoothing:
            changed["label_smoothing"] = section.label_smoothing
        pairs = self.config.pairs
        told = {"strategy": pairs.strategy, "chosen_from": pairs.chosen_from, "rejected_from": pairs.rejected_from}
        usual = {"strategy": "best-worst", "chosen_from": "own", "rejected_from": "own"}
        changed |= {key: value for key, value in told.items() if value != usual[key]}
        if self.config.meta.by != "none":
            stage = self.run.finished_stage(f"{model}/meta")
            changed |= {"judge_pairs_by": self.config.meta.by, "judge_pairs": stage.counts["pairs"] if stage else 0}
        if stage := self.run.finished_stage(f"{model}/consistency") if self.config.consistency else None:
            changed["consistency"] = stage.counts["consistency"]
        return changed or None
