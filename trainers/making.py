"""How a model of a run is made: its training as a stage, then the loop's checks of it and its record.

What is trained on is in ``trainers.supervised`` and ``trainers.preference_round``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from selfreward_bench.config import DpoConfig, SftConfig
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.files import write_atomic
from selfreward_bench.storage.model_files import files_fingerprint
from selfreward_bench.storage.records import Records
from selfreward_bench.types import Example, Reward
from trainers import checks, learning, roles, selection
from trainers.checkpoints import logit_probe, read_card
from trainers.dpo import check_first_step, first_loss_tolerance
from trainers.isolation import run_training
from trainers.probes import FILE, read_probes
from trainers.rehearsing import Rehearsal
from trainers.selecting import Selecting
from trainers.stages import parent_of
from trainers.tracking import tracking_of
from trainers.training import TrainResult
from trainers.workshop import BASE_FILES, StopBefore, checkpoint_of

__all__ = ["Iteration", "Making"]

_REHEARSAL_LOSSES = ("first_rehearsal_loss", "final_rehearsal_loss")


@dataclass(frozen=True)
class Iteration:
    """One model of a run and how it came to be; kept as ``iteration.json`` beside its checkpoint.

    Attributes:
        rewards: what it was trained on: ``self``, ``rlaif`` (another model's judgments), another reward or a control,
            as ``RunConfig.rewards`` names them; ``none``: by SFT.
        judge: who judged instead of the parent; None where nobody did.
        warnings: what makes it doubtful that this round taught anything (``trainers.learning``).
        lora: as in ``ModelCard``.
        rehearsal: judgments trained beside the preferences: ``what``, ``weight``, ``size`` and ``alone`` as in the
            recipe, and ``from_the_model`` and ``from_people``: how many are the model's own work, and how many are made
            of human seed data used again. None where there were none.
        selection: which step was kept, by whom, and the contests (``trainers.selection``); None where the last one was.
        preferences: what of them is not as in the paper (docs/methods.md): the loss, whose answers are chosen and
            rejected, pairs of judgments; None where all is.
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
    preferences: dict[str, Any] | None = None


class Making(Selecting):
    """Training and conclusion, for every model."""

    @property
    def pairs_check(self) -> str:
        """What the check of the pairs found, by name: of whom their answers are."""
        sides = {self.config.pairs.chosen_from, self.config.pairs.rejected_from}
        return "pairs_come_from_parent" if sides == {"own"} else "pairs_come_from_whom_they_name"

    def mixed_examples(self) -> list[Example]:
        """The seed data of M1: IFT, and EFT as often as the recipe says."""
        ift = jsonl.read(self.path("M1", "ift.jsonl"), Example)
        judging = jsonl.read(self.path("M1", "eft.jsonl"), Example)
        repeated = [
            e if i == 0 else e.model_copy(update={"id": f"{e.id}#{i}"})
            for i in range(self.config.sft.eft_repeat)
            for e in judging
        ]
        return ift + repeated

    def told(self, model: str) -> dict[str, Any] | None:
        """For the record: what of the preferences is not as in the paper; None where all is."""
        raise NotImplementedError

    def pair_warnings(self, room: str) -> list[str]:
        """What makes a round's pairs doubtful."""
        stage = self.run.finished_stage(f"{room}/pairs")
        if stage is None:
            return []
        model = room.partition("/")[0]
        scored = jsonl.iterate(self.path(room, "rewards.jsonl"), Reward)
        judge = self.config.judge if self.config.signal_of(model) in ("self", "rlaif") else None
        return list(learning.pair_warnings(model, stage.counts, scored, judge))

    def train(
        self,
        model: str,
        kind: str,
        records: Sequence[Any],
        inputs: dict[str, str],
        section: SftConfig | DpoConfig,
        more: Mapping[str, object] = MappingProxyType({}),
        parent: str | None = None,
    ) -> None:
        """Trains a model on the records, by SFT or DPO."""
        parent = parent or parent_of(model)
        settings: dict[str, object] = section.recorded() | dict(more)
        inputs = inputs | {"model": self.fingerprint(parent)}
        lora = self.config.lora
        if lora:
            settings = settings | {"lora": lora.model_dump()}
        selecting = kind == "dpo" and bool(self.config.select.every) and "/" not in model  # a look ahead does not
        if selecting:
            settings = settings | {"select": self.config.select.model_dump(exclude={"judge", "prompts"})}
            inputs = inputs | self.selection_inputs(parent)
        with self.stage(f"{model}/train", inputs, settings | self.rendering(parent)) as stage:
            if stage:
                self.close()
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
                result = self.selected(stage, parent, begin) if selecting else begin()
                if isinstance(section, DpoConfig):
                    tolerance = first_loss_tolerance(checkpoint_of(self.run, parent), section, lora)
                    check_first_step(result, tolerance, section)
                made = {"checkpoint": self.fingerprint(model), "files": files_fingerprint(result.checkpoint)}
                if parent == "M0":
                    made[BASE_FILES] = files_fingerprint(checkpoint_of(self.run, parent))
                kept = selection.record_of(stage.directory) if selecting else None
                chosen = {"kept_step": kept["chosen"]} if kept else {}
                stage.finish(_training_counts(result, len(records)) | chosen, made)

    def rehearsed(self, model: str) -> Rehearsal | None:
        """What a preference training rehearses; a look ahead does not."""
        if not self.config.rehearsal.what or "/" in model:
            return None
        return Rehearsal(Records(self.path(model, "rehearsal.jsonl"), Example), self.config.rehearsal)

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
        if probes := read_probes(self.path(model, FILE).parent, self.fingerprint(parent), self.fingerprint(model)):
            before, after = probes.before, probes.after
        else:
            trusted = self.config.engine.trust_remote_code
            before, after = (
                logit_probe(checkpoint_of(self.run, m), trust_remote_code=trusted) for m in (parent, model)
            )
        prints = (self.fingerprint(model), self.fingerprint(parent))
        change = checks.check_weights(model, parent, prints, (after, before))
        found = {name: self.run.finished_stage(name) for name in names}
        trained = found.get(f"{model}/train")
        learnt = list(learning.length_warnings(model, "dpo" if preferred else "sft", trained.counts if trained else {}))
        learnt += learning.training_warnings(model, self.path(model, "log.jsonl")) if preferred else []
        for warning in learnt:
            self.reporter.message(f"Warning: {warning}")
        iteration = Iteration(
            model=model,
            parent=parent,
            fingerprint=self.fingerprint(model),
            parent_fingerprint=self.fingerprint(parent),
            rewards=self.config.signal_of(model) if rewarded else "none",
            counts={name: dict(stage.counts) for name, stage in found.items() if stage},
            checks={
                "weights_differ_from_parent": "passed",
                "largest_logit_change": f"{change:.4g}",
                **({self.pairs_check: "passed", "first_dpo_loss_is_ln2": "passed"} if preferred else {}),
            },
            probe=after,
            warnings=(*(self.pair_warnings(model) if preferred else ()), *learnt),
            lora=card.lora if (card := read_card(checkpoint_of(self.run, model))) else None,
            rehearsal=self.rehearsal_record(model),
            selection=selection.record_of(self.run.path / model) if preferred else None,
            preferences=self.told(model) if preferred else None,
            judge=roles.shown(self.config, roles.JUDGE)
            if rewarded and self.config.signal_of(model) == "rlaif"
            else None,
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
