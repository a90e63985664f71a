"""What SFT and DPO share: the frame around one training, from its plan to its checkpoint.

What TRL is told is in ``trainers.arguments``, what happens around each step in ``trainers.stepping``, what makes a
training resumable in ``trainers.resume``.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward_bench.config import DpoConfig, LoraConfig, SftConfig
from selfreward_bench.engines.quantised import forget_optimizers
from selfreward_bench.errors import TrainingError
from selfreward_bench.progress import Tell
from selfreward_bench.storage.adapters import parts
from trainers import lora as adapters
from trainers.bases import Loaded, from_pretrained, over_own_weights
from trainers.checkpoints import (
    ModelCard,
    partial_of,
    quiet_libraries,
    refused_writes,
    round_weights,
    save_checkpoint,
    saved_dtypes,
)
from trainers.memory import TILE_WORDS
from trainers.rendering import Turn, end_token_ids
from trainers.resume import Frame, ResumeStore, StepLog, keep_plan
from trainers.sharding import Sharding, agreed, is_sharded, local, ready, reshard
from trainers.shards import load_weights, write_checkpoint


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """Where a training is after a step."""

    step: int
    total_steps: int
    metrics: dict[str, float]
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training came to.

    Attributes:
        steps: optimizer steps of the whole training, also those before a resume.
        first_loss, final_loss: loss of the first step (before any update) and of the last, in nats.
        first_step: all metrics of the first step.
        truncated: records left out because they exceed ``max_length`` tokens.
        equal: pairs left out because their answers are the same tokens; 0 for SFT.
        rehearsed: judgments that were there to be rehearsed beside pairs; each step has some of them.
        rehearsal_losses: of the rehearsed judgments in the first and in the last step, in nats per token.
        seconds: wall time of this call only.
        tokens: tokens the model read, prompts included, padding not.
    """

    steps: int
    first_loss: float
    final_loss: float
    first_step: dict[str, float]
    truncated: int
    log_path: Path
    checkpoint: Path
    seconds: float
    tokens: int
    equal: int = 0
    rehearsed: int = 0
    rehearsal_losses: tuple[float, float] | None = None

    @property
    def first_dpo_loss(self) -> float | None:
        """The preference term of the first step's loss; None for SFT."""
        return self.first_step.get("dpo_loss")


@contextlib.contextmanager
def tiles(args: Any) -> Iterator[None]:
    """TRL's output head works in tiles of 32,768 words; on a CPU, whose code holds eight copies of one, of 4,096."""
    from trl.trainer import utils

    usual = utils._CHUNKED_LOGPROB_CHUNK_SIZE
    if args.device.type == "cpu":
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE_WORDS["cpu"]
    try:
        yield
    finally:
        utils._CHUNKED_LOGPROB_CHUNK_SIZE = usual


def open_frame(args: Any, out_dir: Path, plan: dict[str, Any], tell: Tell | None) -> Frame:
    """Makes ``out_dir`` ready for a new, a continued or a finished training.

    Args:
        args: TRL's configuration; it knows which process this is.
        plan: everything the result depends on, flat; compared with what was begun here.
        tell: told that only one of several GPUs is used.

    Raises:
        IncompatibleRunError: another training was begun in ``out_dir``.
    """
    frame = Frame(ResumeStore(out_dir / "resume"), StepLog(out_dir / "log.jsonl"), out_dir / "checkpoint")
    with args.main_process_first():
        if args.process_index == 0:
            frame.store.refuse_link()
            keep_plan(out_dir / "plan.json", {**plan, "processes": args.world_size})
            if frame.finished:
                frame.store.clear()
            else:
                damaged = frame.store.discard_torn()
                frame.store.discard_after(len(frame.log.read()))
                state = frame.store.latest()
                frame.log.cut(state.step if state else 0)
                if damaged and tell:
                    steps = ", ".join(map(str, damaged))
                    then = f"goes on from step {state.step}" if state else "begins anew"
                    tell(f"The saved state of step {steps} is damaged and was deleted; the training {then}.")
    if args.visible_gpus > 1 and tell and not frame.finished:
        tell(f"{args.visible_gpus} GPUs are visible; the training takes {args.device} (CUDA_VISIBLE_DEVICES chooses).")
    return frame


def plan_of(
    stage: str,
    fingerprint: str,
    data: str,
    config: SftConfig | DpoConfig,
    lora: LoraConfig | None,
    seed: int,
    attn_implementation: str | None = None,
    sharding: Sharding | None = None,
) -> dict[str, Any]:
    """Everything the weights depend on, flat, so that a difference can be named."""
    settings = {f"{stage}.{key}": value for key, value in config.recorded().items()}
    if lora:
        settings |= {f"lora.{key}": value for key, value in lora.model_dump(mode="json").items()}
    if attn_implementation:
        settings["attn_implementation"] = attn_implementation
    if sharding:
        settings["shards"], settings["replicas"] = sharding.shards, sharding.replicas
    return {"stage": stage, "base": fingerprint, "data": data, "seed": seed, **settings}


def finish(
    trainer: Any,
    frame: Frame,
    loaded: Loaded,
    turns: Iterable[Turn],
    card: ModelCard,
    save_dtype: str,
    place: Path | None = None,
) -> None:
    """Writes the checkpoint and then deletes the saved states, on the first process.

    Its configuration is the base's own: whatever the trainers set in it while they trained is put back.

    Args:
        turns: what was trained; its last tokens end an answer.
        place: where else the checkpoint goes, of a training that is to go on: the states stay.

    Raises:
        TrainingError: a weight is no number, or too large for ``save_dtype``.
        LoopViolation: merged into the weights, an adapter does something else.
    """
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # computes without autocast
    sharded = is_sharded(model)
    reshard(model)
    check_weights_finite(model)
    base = None
    if loaded.lora:
        how = loaded.lora.model_dump(mode="json") | adapters.parameters(model)
        if loaded.lora.merge:
            if loaded.lora.quantize:
                model, change = over_own_weights(loaded, model)
                how["quantize_logit_change"] = float(f"{change:.3g}")
            if save_dtype == "float32" and not sharded:  # whose weights are so (``usable``)
                model = model.float()  # what the adapter adds is not rounded away
            model, change = adapters.merged(model)
            how["merge_logit_change"] = float(f"{change:.3g}")
        else:
            base = parts(loaded.source).weights
        card = card.model_copy(update={"lora": how})
    dtypes = saved_dtypes(save_dtype, loaded.source)
    if base is None and not sharded:
        round_weights(model, dtypes)
    tokenizer = trainer.processing_class
    model.config, model.generation_config = loaded.config, loaded.generation
    ends = end_token_ids(loaded.ends, tokenizer, turns)
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    together = functools.partial(write_checkpoint, model, dtypes=dtypes) if sharded and base is None else None
    if trainer.is_world_process_zero():
        save_checkpoint(model, tokenizer, place or frame.checkpoint, card, base, write=together)
        if place is None:
            frame.store.clear()
    elif together:
        together(partial_of(place or frame.checkpoint))
    trainer.accelerator.wait_for_everyone()


def run_steps(trainer: Any, frame: Frame, trust_remote_code: bool = False) -> int:
    """Trains to the end, from the newest intact state if there is one.

    Returns:
        The number of optimizer steps of the whole training.

    Raises:
        TrainingError: a loss or gradient is no number, or memory ran out.
        KeyboardInterrupt: interrupted; the state of the last whole step is saved.
    """
    from safetensors import SafetensorError
    from transformers import set_seed

    state = frame.store.latest()
    goal = min(trainer.total, trainer.until or trainer.total)
    if state is not None and state.step >= goal:  # killed after the last step, before the checkpoint was written
        if is_sharded(trainer.model):
            load_weights(trainer, state.path)
        elif adapters.is_adapted(trainer.model):
            adapters.restore(trainer.model, state.path)
        else:
            trainer.model.load_state_dict(from_pretrained(state.path, trust_remote_code).state_dict())
        return state.step
    set_seed((trainer.args.seed + trainer.args.process_index) % 2**32)  # each process draws dropout of its own
    forget_optimizers()
    ready(trainer.model)
    tracked = trainer.trackers.following(trainer.model, state.step if state else 0)
    with quiet_libraries(), tiles(trainer.args), trainer.interruption.watching(), tracked:
        try:
            trainer.train(resume_from_checkpoint=str(state.path) if state else None)
        except (OSError, RuntimeError, SafetensorError):
            if not trainer.saving:
                raise
            with refused_writes(frame.store.directory):
                raise
        finally:
            frame.log.flush()
            forget_optimizers()
        if trainer.stopped:
            raise KeyboardInterrupt
    return int(trainer.state.global_step)


def check_weights_finite(model: Any) -> None:
    """Raises TrainingError when a trained weight is no number, so that no such checkpoint is written."""
    spoilt = next((name for name, p in model.named_parameters() if not bool(local(p).isfinite().all())), None)
    if is_sharded(model):
        spoilt = agreed(spoilt)
    if spoilt:
        raise TrainingError(
            f"The last step made {spoilt} infinite or NaN; no checkpoint was written. Lower learning_rate."
        )


def read_result(frame: Frame, truncated: int, started: float, equal: int = 0, rehearsed: int = 0) -> TrainResult:
    """The result of a finished training, from its log."""
    lines = frame.log.read()
    first, last = lines[0], lines[-1]
    return TrainResult(
        steps=len(lines),
        first_loss=first["loss"],
        final_loss=last["loss"],
        first_step=first,
        truncated=truncated,
        log_path=frame.log.path,
        checkpoint=frame.checkpoint,
        seconds=time.perf_counter() - started,
        tokens=sum(int(line["tokens"]) for line in lines),
        equal=equal,
        rehearsed=rehearsed,
        rehearsal_losses=(first["rehearsal_loss"], last["rehearsal_loss"]) if rehearsed else None,
    )
