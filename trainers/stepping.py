"""How a training steps: what srbench changes around a step of TRL's trainers, not in it.

Batches by length in an order that depends on the seed alone, one JSONL line per step, a stop on a loss that is no
number, interruption at the end of a step, saved states that can be told from torn ones. It opens no connection and
prints nothing.
"""

from __future__ import annotations

import contextlib
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from selfreward_bench.errors import TrainingError
from selfreward_bench.seeding import derive_seed
from trainers.checkpoints import refused_writes
from trainers.resume import Frame
from trainers.training import TrainProgress

WINDOW_BATCHES = 50  # batches are formed by length among this many at a time, so that their order stays random


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

    Its attributes are set by ``attach``, between construction and ``train``.
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

        return LengthBatches(self._lengths, int(trainer.args.train_batch_size), self._data_seed, epoch)

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
        with refused_writes(self._frame.store.directory):
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
