"""Direct preference optimisation on TRL's DPOTrainer (Rafailov et al., arXiv 2305.18290), with the policy's own first
state as reference.

The reference's log-probabilities are computed once, before any update, and kept in ``reference.jsonl``: the reference
model takes no memory while training, and a resumed training meets the very same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selfreward_bench.config import DpoConfig, LoraConfig
from selfreward_bench.engines.quantised import import_quietly
from selfreward_bench.errors import DataError, LoopViolation
from selfreward_bench.progress import Tell
from selfreward_bench.storage import jsonl
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import PreferencePair, Record
from trainers import losses, rehearsing
from trainers.arguments import arguments, split_of, training_arguments
from trainers.bases import load_model
from trainers.batches import Rows, Split
from trainers.checkpoints import ModelCard, model_name, quiet_libraries
from trainers.environment import join_processes, without_settings
from trainers.lora import forget_reference, frozen_dtype
from trainers.rehearsing import Rehearsal
from trainers.rendering import digest, load_tokenizer, local_directory, longest
from trainers.sharding import Sharding, is_sharded, reshard, unhashed, usable
from trainers.shards import with_shard_states
from trainers.stepping import ExactTrainer, sample
from trainers.token_pairs import (
    SIDES,
    TokenPair,
    blank_row,
    columns,
    distinct,
    fitting,
    preference_row,
    render_pairs,
)
from trainers.tracking import Trackers, Tracking
from trainers.training import (
    TrainProgress,
    TrainResult,
    finish,
    open_frame,
    plan_of,
    read_result,
    run_steps,
    tiles,
)

FIRST_LOSS_TOLERANCE = 1e-3
FIRST_LOSS_TOLERANCE_BF16 = 2e-2  # a margin, not measured: 6e-4 was seen once, at 1 billion random parameters


class ReferenceLogps(Record):
    """What the reference gives one pair: natural-log probabilities, summed over the answer's tokens."""

    id: str
    chosen_logp: float
    rejected_logp: float


@without_settings()
def train_dpo(
    policy: Path,
    pairs: Sequence[PreferencePair],
    config: DpoConfig,
    out_dir: Path,
    *,
    seed: int,
    lora: LoraConfig | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    tell: Tell | None = None,
    trust_remote_code: bool = False,
    date: str | None = None,
    track: Tracking | None = None,
    attn_implementation: str | None = None,
    rehearsal: Rehearsal | None = None,
    until: int | None = None,
    sharding: Sharding | None = None,
) -> TrainResult:
    """Trains ``policy`` on the pairs, against itself as reference, and writes ``out_dir/checkpoint``.

    The loss is ``config.loss``, mean over the pairs of a step, plus ``nll_weight`` times the mean negative
    log-likelihood per chosen token of the step, plus what is rehearsed (``trainers.rehearsing``). Dropout is off:
    policy and reference must agree at the first step. Arguments, and how it goes on and ends, are as in ``train_sft``.

    Args:
        rehearsal: judgments that are trained beside the pairs.
        until: a step to stop after, where the training is longer: its weights go to ``out_dir/selected/step-N``, its
            state stays, and a later call goes on (``trainers.selection``).

    Raises:
        TrainingError: no usable pair, a policy that cannot be trained, a loss that is no number.
        DataError: a pair that cannot be rendered, or a damaged ``reference.jsonl``.
        IncompatibleRunError: ``out_dir`` holds another training.
        KeyboardInterrupt: interrupted, with the state of the last step saved.
    """
    import_quietly()  # TRL imports it
    from trl import DPOConfig as TrlDpoConfig

    from selfreward_bench.engines.loading import release_memory

    started = time.perf_counter()
    join_processes()
    source = local_directory(policy)
    sharding = usable(sharding, source, config, lora)
    tokenizer = load_tokenizer(source, trust_remote_code=trust_remote_code, date=date)
    rendered, equal = distinct(render_pairs(tokenizer, pairs))
    tokens, truncated = fitting(rendered, longest(source, config.max_length, trust_remote_code))
    fingerprint = weights_fingerprint(source)
    args = arguments(
        TrlDpoConfig,
        **training_arguments(config, out_dir / "resume", seed, sharding),
        **losses.trl_settings(config),  # TRL's "sft" beside it would be a mean per micro batch
        precompute_ref_log_probs=True,
        disable_dropout=True,
    )
    data = digest((t.id for t in tokens), *columns(tokens))
    split = split_of(args, config)
    rehearsed = rehearsal and rehearsing.render(
        tokenizer, rehearsal, source, config.max_length, split, seed, trust_remote_code
    )
    plan = plan_of("dpo", fingerprint, data, config, lora, seed, attn_implementation, sharding)
    plan |= rehearsed.plan() if rehearsed else {}
    frame = open_frame(args, out_dir, plan, tell)
    if not frame.finished:
        loaded = load_model(
            source,
            0.0,
            lora=lora,
            seed=seed,
            trust_remote_code=trust_remote_code,
            attn_implementation=attn_implementation,
            sharding=sharding,
            bf16=config.bf16,
            tell=tell,
        )
        blank = blank_row(tokenizer.pad_token_id)
        kind = _trainer_class(tokens, out_dir / "reference.jsonl", split, config)
        kind = with_shard_states(rehearsing.joined(kind, rehearsed) if rehearsed else kind, loaded.model)
        with quiet_libraries(), tiles(args), unhashed(loaded.model):
            trainer = kind(model=loaded.model, args=args, train_dataset=sample(blank), processing_class=tokenizer)
        forget_reference(trainer.model)
        beside = {"beside": rehearsed.deal} if rehearsed else {}
        rows = Rows(
            len(tokens),
            lambda at: preference_row(tokens[at]) | trainer.reference(at),
            blank,
            rehearsed.row if rehearsed else None,
        )
        trackers = Trackers(track if trainer.is_world_process_zero() else None, out_dir, plan, tell)
        trainer.attach(rows, [len(t) for t in tokens], split, frame, seed, progress, trackers, **beside)
        trainer.until = until
        steps = run_steps(trainer, frame, trust_remote_code)
        card = ModelCard(
            name=out_dir.name,
            parent=model_name(source),
            parent_fingerprint=fingerprint,
            stage="dpo",
            recipe=config.recorded(),
            counts={"pairs": len(tokens), "truncated": truncated, "equal": equal, "steps": steps}
            | ({"rehearsed": len(rehearsed.turns)} if rehearsed else {}),
        )
        place = None if steps >= trainer.total else out_dir / "selected" / f"step-{steps}"
        finish(trainer, frame, loaded, (t.chosen for t in tokens), card, config.save_dtype, place)
        del trainer, loaded
        release_memory()
    return read_result(frame, truncated, started, equal, len(rehearsed.turns) if rehearsed else 0)


def first_loss_tolerance(policy: Path, config: DpoConfig, lora: LoraConfig | None) -> float:
    """In nats: more where anything is computed in bfloat16, whose rounding depends on the shape of a batch."""
    half = config.bf16 or frozen_dtype(policy, lora) != "float32"
    return FIRST_LOSS_TOLERANCE_BF16 if half else FIRST_LOSS_TOLERANCE


def check_first_step(
    result: TrainResult, tolerance: float = FIRST_LOSS_TOLERANCE, config: DpoConfig | None = None
) -> None:
    """Checks that the training began at its reference: before any update the DPO loss is ln 2, pair by pair.

    Another loss is checked twice: the pairs' margins as always, and the loss itself against what it is worth there.

    Args:
        tolerance: in nats; batches of other shapes round differently (``first_loss_tolerance``).
        config: what was trained; None is the sigmoid loss.

    Raises:
        LoopViolation: the reference log-probabilities are not those of the model that was trained, or another loss was
            computed.
    """
    loss = result.first_dpo_loss
    if loss is None or not abs(loss - math.log(2)) <= tolerance:
        raise LoopViolation(
            f"The first DPO loss is {loss}, not ln 2 = {math.log(2):.6f} (tolerance {tolerance}): the reference "
            f"log-probabilities are not those of the model that was trained. Delete {result.log_path.parent} and train "
            "again; if it happens again, the policy's directory was changed while it was in use."
        )
    if config is None or config.loss == losses.SIGMOID:
        return
    value, known = result.first_step.get("preference_loss"), losses.at_reference(config)
    if value is None or not abs(value - known) <= tolerance * max(1.0, known):
        raise LoopViolation(
            f"The first {config.loss} loss is {value}, not {known:.6f}, which it is where the policy is the reference: "
            "this TRL computes another loss. Install the versions of constraints.txt, or take dpo.loss: sigmoid."
        )


def _trainer_class(tokens: Sequence[TokenPair], reference: Path, split: Split, config: DpoConfig) -> Any:
    """TRL's trainer on finished ids, with the reference on disk and the loss weighed over the whole step."""
    import torch
    from trl import DPOTrainer

    class Trainer(ExactTrainer, DPOTrainer):  # type: ignore[misc]  # TRL has no types
        loss_is_scaled_for_ga = True  # ``weigh`` does it; transformers would count each micro batch alike

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            if not reference.exists():
                logps = _reference(self, tokens, split)
                if self.is_world_process_zero():
                    jsonl.write(reference, logps)
                self.accelerator.wait_for_everyone()
            kept = _read_reference(reference, tokens)
            self._logps = [(r.chosen_logp, r.rejected_logp) for r in kept]
            return dataset

        def reference(self, at: int) -> dict[str, float]:
            """What the reference gives a pair, as TRL's collator takes it."""
            return {f"ref_{side}_logps": logp for side, logp in zip(SIDES, self._logps[at], strict=True)}

        def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
            steps, items = super().get_batch_samples(epoch_iterator, num_batches, device)
            masks = [batch["completion_mask"] for step in steps for batch in step if "completion_mask" in batch]
            chosen = [mask.chunk(2)[0] for mask in masks]
            own = torch.tensor([[mask.any(1).sum(), mask.sum()] for mask in chosen], device=device).sum(0)
            self._pairs, self._chosen_tokens = self.accelerator.reduce(own, reduction="sum").tolist()
            return steps, items

        def weigh(self, loss: Any, output: Any, inputs: Any) -> Any:
            chosen = inputs["completion_mask"].chunk(2)[0]
            loss = losses.smoothed(loss, _margins(output, inputs, self.beta), config)
            loss = loss * chosen.any(1).sum() / self._pairs
            if config.nll_weight > 0:
                loss = loss - config.nll_weight * output.log_probs.chunk(2)[0].sum() / self._chosen_tokens
            return loss * self.args.world_size

        def measure(self, output: Any, inputs: Any, loss: Any) -> dict[str, Any]:
            sums = _pair_sums(output, inputs, self.beta)
            if config.loss != losses.SIGMOID:
                experts = self.router_aux_loss_coef * output.aux_loss if self.aux_loss_enabled else 0
                sums["preference_loss"] = (loss - experts) * sums["pairs"]
            return sums

        def means(self, sums: dict[str, float]) -> dict[str, float]:
            accuracy = sums.pop("right") / sums.pop("trained")
            pairs = sums.pop("pairs")
            shown = {name: value / pairs for name, value in sums.items() if name != "tokens"}
            return {**shown, "mean_token_accuracy": accuracy}

    return Trainer


def _margins(output: Any, inputs: Any, beta: float) -> Any:
    """Beta times the difference of each pair's log-ratios, shape (pairs,)."""
    ratios = [
        logp - inputs[f"ref_{side}_logps"] for side, logp in zip(SIDES, output.log_probs.sum(1).chunk(2), strict=True)
    ]
    return beta * (ratios[0] - ratios[1])


def _pair_sums(output: Any, inputs: Any, beta: float) -> dict[str, Any]:
    """Of one micro batch, over its pairs: the preference term of the loss, rewards, log-probabilities, lengths.

    Args:
        output: ``log_probs`` of each answer token, 0 elsewhere, shape (2 x pairs, length - 1); the first half belongs
            to the chosen answers.
    """
    import torch

    lengths = inputs["completion_mask"].sum(1)
    real = lengths.chunk(2)[0] > 0  # not the blank pair
    logps = [logp[real] for logp in output.log_probs.detach().sum(1).chunk(2)]
    references = [inputs[f"ref_{side}_logps"][real] for side in SIDES]
    rewards = [beta * (logp - reference) for logp, reference in zip(logps, references, strict=True)]
    margins = rewards[0] - rewards[1]
    sums = {
        "tokens": inputs["attention_mask"][real.repeat(2)].sum(),
        "pairs": real.sum(),
        "trained": lengths.chunk(2)[0].sum(),
        "right": output.is_top1.chunk(2)[0].sum(),
        "dpo_loss": -torch.nn.functional.logsigmoid(margins).sum(),
        "rewards/margins": margins.sum(),
        "rewards/accuracies": (margins > 0).sum(),
    }
    for side, reward, logp, length in zip(SIDES, rewards, logps, lengths.chunk(2), strict=True):
        sums |= {f"rewards/{side}": reward.sum(), f"logps/{side}": logp.sum(), f"length/{side}": length[real].sum()}
    return sums


def _reference(trainer: Any, tokens: Sequence[TokenPair], split: Split) -> list[ReferenceLogps]:
    """The reference's log-probabilities of all pairs, in their order; each process computes its share."""
    from accelerate.utils import gather_object, send_to_device  # type: ignore[import-untyped]  # it has no types

    lengths = [len(pair) for pair in tokens]
    batches = split.cut(sorted(range(len(tokens)), key=lambda i: -lengths[i]), lengths)
    found: list[tuple[int, float, float]] = []
    trainer.model.eval()
    if is_sharded(trainer.model):  # each pass is of all processes, so they need as many
        batches += batches[-1:] * (-len(batches) % trainer.args.world_size)
    for batch in batches[trainer.args.process_index :: trainer.args.world_size]:
        inputs = trainer.data_collator([preference_row(tokens[i]) for i in batch])
        inputs = send_to_device(inputs, trainer.args.device)
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, inputs)
        found += zip(batch, chosen.tolist(), rejected.tolist(), strict=True)
    reshard(trainer.model)
    if trainer.args.world_size > 1:
        found = gather_object(found)
    logps = {i: (c, r) for i, c, r in found}
    return [ReferenceLogps(id=t.id, chosen_logp=logps[i][0], rejected_logp=logps[i][1]) for i, t in enumerate(tokens)]


def _read_reference(path: Path, tokens: Sequence[TokenPair]) -> list[ReferenceLogps]:
    """Raises DataError when the file is not of exactly these pairs."""
    kept = jsonl.read(path, ReferenceLogps)
    if [r.id for r in kept] != [t.id for t in tokens]:
        raise DataError(f"{path} does not hold the pairs that are trained on. Delete it; it is made again.")
    return kept
