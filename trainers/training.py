"""What SFT and DPO share: the arguments TRL gets, the loop's own behaviour, and the frame around one training.

``ExactTrainer`` is mixed into TRL's trainers and changes what they do around a step, not the step: batches by length in
an order that depends on the seed alone, one JSONL line per step, a stop on a loss that is no number, interruption at
the end of a step, checkpoints that can be told from torn ones. It opens no connection and prints nothing.
"""

from __future__ import annotations

import contextlib
import gc
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from selfreward_bench.config import DpoConfig, SftConfig
from selfreward_bench.errors import ConfigError, TrainingError
from selfreward_bench.seeding import derive_seed
from trainers.checkpoints import ModelCard, quiet_libraries, save_checkpoint
from trainers.resume import ResumeStore, StepLog, keep_plan

WINDOW_BATCHES = 50  # batches are formed by length among this many at a time, so that their order stays random


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

    @property
    def first_dpo_loss(self) -> float | None:
        """The preference term of the first step's loss; None for SFT."""
        return self.first_step.get("dpo_loss")


def training_arguments(config: SftConfig | DpoConfig, resume: Path, seed: int) -> dict[str, Any]:
    """The settings both TRL configurations take.

    Raises:
        ConfigError: the batch size cannot be made of micro batches.
    """
    import torch

    micro, accumulation = _split_batch(config)
    return {
        "output_dir": str(resume),
        "seed": seed % 2**32,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": config.final_learning_rate},
        "warmup_steps": config.warmup_fraction,  # a value below 1 is a fraction of all steps
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        "bf16": config.bf16,
        "activation_checkpointing": config.gradient_checkpointing,  # what transformers calls it now
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "steps",
        "save_steps": config.save_every,
        "save_total_limit": 2,  # the one before stays until the new one is whole
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": config.max_length,
    }


def _split_batch(config: SftConfig | DpoConfig) -> tuple[int, int]:
    """Examples per forward pass, and passes per step."""
    import os

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = config.micro_batch_size or config.batch_size // processes
    if micro < 1 or config.batch_size % (micro * processes):
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be made of micro batches of {micro} on {processes} process(es). "
            "Choose a micro_batch_size such that batch_size is a multiple of micro_batch_size x processes."
        )
    return micro, config.batch_size // (micro * processes)


class LengthBatches:
    """Order of one epoch: random batches of records of like length, the incomplete batch last.

    The order depends on the seed and the epoch only, so a resumed training meets the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch, self._seed, self._epoch = lengths, batch, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(derive_seed(self._seed, "epoch", self._epoch()))
        order = list(range(len(self._lengths)))
        rng.shuffle(order)
        window = self._batch * WINDOW_BATCHES
        full: list[list[int]] = []
        rest: list[int] = []
        for start in range(0, len(order), window):
            chunk = sorted(order[start : start + window], key=lambda i: -self._lengths[i])
            for at in range(0, len(chunk), self._batch):
                batch = chunk[at : at + self._batch]
                if len(batch) == self._batch:
                    full.append(batch)
                else:
                    rest = batch
        rng.shuffle(full)
        return iter([i for batch in [*full, rest] for i in batch])


class Interruption:
    """Turns the first Ctrl-C into a wish that the loop grants at the end of its step; the second acts at once."""

    def __init__(self) -> None:
        self.wanted = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Takes over SIGINT where Python's own handler would get it."""
        mine = threading.current_thread() is threading.main_thread()
        if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


class ExactTrainer:
    """Mixed into a TRL trainer, before it: ``class T(ExactTrainer, SFTTrainer)``.

    Its attributes are set by ``attach`` between construction and ``train``.
    """

    def attach(
        self,
        lengths: Sequence[int],
        frame: Frame,
        seed: int,
        progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        from transformers import PrinterCallback

        self._lengths, self._frame, self._data_seed = lengths, frame, seed
        self._progress = progress
        self.interruption = Interruption()
        self._tokens_before = 0
        self._started: tuple[float, int] | None = None
        trainer: Any = self
        trainer.remove_callback(PrinterCallback)

    def _send_telemetry(self) -> None:
        """TRL reports each training to its makers; srbench opens no connection nobody asked for."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The final checkpoint gets a card of its own."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the count walks all parameters at each step and nothing reads it."""
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        trainer: Any = self

        def epoch() -> int:
            steps_per_epoch = math.ceil(len(self._lengths) / trainer.get_total_train_batch_size(trainer.args))
            return int(trainer.state.global_step // steps_per_epoch)

        return LengthBatches(self._lengths, trainer.args.train_batch_size, self._data_seed, epoch)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self._started is None:
            self._started = (time.perf_counter(), 0)
        trainer: Any = super()
        loss = trainer.training_step(*args, **kwargs)
        self._refuse_non_finite("loss", float(loss), step=self._step() + 1)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One line per step; runs before a checkpoint of the step is saved."""
        parent: Any = super()
        parent.log(logs, start_time)
        trainer: Any = self
        trainer.state.log_history.clear()  # log.jsonl is the record; here it would grow every checkpoint
        if "loss" not in logs:
            return
        self._refuse_non_finite("gradient norm", logs["grad_norm"], step=self._step())
        metrics = self._metrics_of(logs)
        if trainer.is_world_process_zero():
            self._frame.log.write(metrics)
        try:
            if self._progress is not None:
                self._progress(TrainProgress(self._step(), trainer.state.max_steps, metrics, self._rate(metrics)))
        except KeyboardInterrupt:
            self.interruption.wanted = True
        if self.interruption.wanted:
            trainer.control.should_save = trainer.control.should_training_stop = True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        parent: Any = super()
        self._frame.log.flush()
        parent._save_checkpoint(model, trial)
        trainer: Any = self
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            self._frame.store.seal(self._step())

    def _metrics_of(self, logs: dict[str, float]) -> dict[str, float]:
        tokens = int(logs.get("num_tokens", 0))
        metrics: dict[str, float] = {
            "step": self._step(),
            "epoch": logs["epoch"],
            "loss": logs["loss"],
            "lr": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "tokens": tokens - self._tokens_before,
        }
        self._tokens_before = tokens
        shown = ("dpo_loss", "rewards/", "logps/", "length/", "mean_token_accuracy")
        metrics.update({k: v for k, v in logs.items() if k.startswith(shown)})
        return metrics

    def _rate(self, metrics: dict[str, float]) -> float:
        started, seen = self._started or (time.perf_counter(), 0)
        seen += int(metrics["tokens"])
        self._started = (started, seen)
        return seen / max(time.perf_counter() - started, 1e-9)

    def _step(self) -> int:
        trainer: Any = self
        return int(trainer.state.global_step)

    def _refuse_non_finite(self, what: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        self._frame.log.flush()
        good = self._frame.store.latest()
        kept = f"the state of step {good.step} is kept in {good.path}" if good else "no step had been saved yet"
        raise TrainingError(
            f"The {what} became {value} at step {step}, so training stopped; {kept}. No checkpoint was written. "
            "Lower learning_rate or lengthen warmup_fraction; with bf16, try bf16: false."
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """One training's directory, made ready: what was torn is gone, the log ends where the resume begins."""

    store: ResumeStore
    log: StepLog
    checkpoint: Path
    plan: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.checkpoint.is_dir()


def open_frame(args: Any, out_dir: Path, plan: dict[str, Any]) -> Frame:
    """Makes ``out_dir`` ready for a new, a continued or a finished training.

    Args:
        args: TRL's configuration; it knows which process this is.
        plan: everything the result depends on, flat; compared with what was begun here.

    Raises:
        IncompatibleRunError: another training was begun in ``out_dir``.
    """
    frame = Frame(ResumeStore(out_dir / "resume"), StepLog(out_dir / "log.jsonl"), out_dir / "checkpoint", plan)
    with args.main_process_first():
        if args.process_index == 0:
            keep_plan(out_dir / "plan.json", plan)
            if not frame.finished:
                frame.store.discard_torn()
                frame.store.discard_after(len(frame.log.read()))
                state = frame.store.latest()
                frame.log.cut(state.step if state else 0)
    return frame


def plan_of(stage: str, fingerprint: str, data: str, config: SftConfig | DpoConfig, seed: int) -> dict[str, Any]:
    """Everything the weights depend on, flat, so that a difference can be named."""
    settings = {f"{stage}.{key}": value for key, value in config.model_dump(mode="json").items()}
    return {"stage": stage, "base": fingerprint, "data": data, "seed": seed, **settings}


def finish(trainer: Any, frame: Frame, own_settings: dict[str, Any], ends: list[int], card: ModelCard) -> None:
    """Writes the checkpoint and then deletes the saved states, on the first process.

    Raises:
        TrainingError: a weight is no number.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    check_weights_finite(model)
    if trainer.is_world_process_zero():
        for key, value in own_settings.items():
            setattr(model.config, key, value)
        tokenizer = trainer.processing_class
        model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        save_checkpoint(model, tokenizer, frame.checkpoint, card)
        frame.store.clear()
    trainer.accelerator.wait_for_everyone()


def run_steps(trainer: Any, frame: Frame) -> None:
    """Trains to the end, from the newest intact state if there is one.

    Raises:
        TrainingError: a loss or gradient is no number, or memory ran out.
        KeyboardInterrupt: interrupted; the state of the last whole step is saved.
    """
    from transformers import set_seed

    state = frame.store.latest()
    total = _total_steps(trainer)
    if state is not None and state.step >= total:  # killed after the last step, before the checkpoint was written
        trainer._load_from_checkpoint(str(state.path))
        return
    set_seed(trainer.args.seed)
    with quiet_libraries(), trainer.interruption.watching():
        try:
            trainer.train(resume_from_checkpoint=str(state.path) if state else None)
        finally:
            frame.log.flush()
    if trainer.interruption.wanted:
        raise KeyboardInterrupt


def _total_steps(trainer: Any) -> int:
    per_epoch = math.ceil(len(trainer.train_dataset) / trainer.get_total_train_batch_size(trainer.args))
    return math.ceil(trainer.args.num_train_epochs * per_epoch)


def check_weights_finite(model: Any) -> None:
    """Raises TrainingError when a trained weight is no number, so that no such checkpoint is written."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise TrainingError(
                f"The last step made {name} infinite or NaN; no checkpoint was written. Lower learning_rate."
            )


def read_result(frame: Frame, truncated: int, started: float) -> TrainResult:
    """The result of a finished training, from its log."""
    lines = frame.log.read()
    first = lines[0]
    return TrainResult(
        steps=len(lines),
        first_loss=first["loss"],
        final_loss=lines[-1]["loss"],
        first_step=first,
        truncated=truncated,
        log_path=frame.log.path,
        checkpoint=frame.checkpoint,
        seconds=time.perf_counter() - started,
        tokens=sum(int(line["tokens"]) for line in lines),
    )


def load_model(source: str | Path, dropout: float) -> tuple[Any, dict[str, Any]]:
    """Loads a causal language model in float32, with dropout where its architecture has it.

    Returns:
        The model, and what its own configuration said where training changes it, to be put back before it is saved.

    Raises:
        TrainingError: the directory holds no causal language model in safetensors.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet_libraries():
            config = AutoConfig.from_pretrained(str(source))
        own: dict[str, Any] = {
            k: v
            for k, v in config.to_dict().items()
            if ("dropout" in k or k.endswith("_pdrop")) and isinstance(v, (int, float)) and not isinstance(v, bool)
        }
        for key in own:
            setattr(config, key, dropout)
        own["use_cache"] = getattr(config, "use_cache", True)  # the trainer turns it off
        with quiet_libraries():
            model = AutoModelForCausalLM.from_pretrained(
                str(source), config=config, dtype="float32", use_safetensors=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(
            f"No model can be loaded from {source}: {error}. Training needs a causal language model in Hugging Face "
            "layout with safetensors weights."
        ) from error
    return model, own


def give_back_memory() -> None:
    """Frees what a finished trainer held: its parts point at each other, so only the collector can."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
