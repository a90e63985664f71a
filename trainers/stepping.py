"""How a training steps: what srbench changes around a step of TRL's trainers, not in it.

The same records in each step however it is split, one JSONL line per step, a stop on a loss that is no number,
interruption at the end of a step, saved states that can be told from torn ones. It prints nothing.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, cast

from selfreward_bench.errors import TrainingError
from trainers.batches import Rows, Split, StepBatches
from trainers.resume import Frame
from trainers.sharding import unsynchronised
from trainers.tracking import Trackers
from trainers.training import TrainProgress


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

    Its attributes are set by ``attach``, between construction and ``train``. A trainer says what its log shows by
    ``measure`` (sums over a micro batch) and ``means`` (the same over a step, all processes together).
    """

    def attach(
        self,
        rows: Rows,
        lengths: Sequence[int],
        split: Split,
        frame: Frame,
        seed: int,
        progress: Callable[[TrainProgress], None] | None,
        trackers: Trackers,
        beside: Callable[[int], list[list[int]]] = lambda step: [],
    ) -> None:
        """Sets what a training of these records needs.

        Args:
            rows: of the records, and the blank one.
            lengths: tokens of each record; of a preference pair, of its longer sequence.
            trackers: told each step, by the first process.
            beside: as in ``StepBatches``.
        """
        from transformers import PrinterCallback

        self.batches = StepBatches(lengths, split, seed, lambda: self._step() // self.batches.steps, beside)
        self._rows, self._frame, self._progress, self.trackers = rows, frame, progress, trackers
        self.interruption = Interruption()
        self._agreed = False  # of several processes: one of them was interrupted, and all know
        self.until: int | None = None  # a step to stop after; the state is kept
        self.saving = False  # from a step's line in the log to the seal on its state
        self._sums: dict[str, Any] = {}
        self._started: tuple[float, int] | None = None
        trainer: Any = self
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_sealing(trainer))

    def measure(self, output: Any, inputs: Any, loss: Any) -> dict[str, Any]:
        """Sums over one micro batch, as tensors; ``tokens`` among them.

        Args:
            output: what the model returned: TRL's per-token figures, 0 where no label is.
            loss: TRL's own, of this micro batch.
        """
        raise NotImplementedError

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        """What the log shows of a step."""
        raise NotImplementedError

    def weigh(self, loss: Any, output: Any, inputs: Any) -> Any:
        """The loss of a micro batch as its part in the step's: the parts of a process sum up, processes average."""
        return loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The final checkpoint gets a card of its own."""

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the count walks all parameters at each step and nothing reads it."""
        return 0

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """As ``rate_factor`` says; transformers' own schedules take their first step, and its batch, at a rate of 0."""
        from torch.optim.lr_scheduler import LambdaLR

        trainer: Any = self
        warmup = trainer.args.get_warmup_steps(num_training_steps)
        floor = trainer.args.lr_scheduler_kwargs["min_lr"] / trainer.args.learning_rate
        trainer.lr_scheduler = LambdaLR(
            optimizer or trainer.optimizer, lambda step: rate_factor(step, num_training_steps, warmup, floor)
        )
        return trainer.lr_scheduler

    def get_train_dataloader(self) -> Any:
        """Every process takes its own micro batches: transformers' loaders would deal and pad them otherwise."""
        import torch
        from torch.utils.data import DataLoader

        trainer: Any = self
        pin, rows = torch.accelerator.is_available(), cast(Any, self._rows)

        def collate(steps: list[list[list[dict[str, Any]]]]) -> list[Any]:
            return [trainer.data_collator(micro) for micro in steps[0]]

        return DataLoader(rows, batch_sampler=self.batches, collate_fn=collate, pin_memory=pin)

    def get_batch_samples(self, epoch_iterator: Iterator[list[Any]], num_batches: int, device: Any) -> Any:
        """A step's micro batches, as one batch of transformers': it would have as many in every step."""
        parent: Any = super()
        micro = next(epoch_iterator, [])
        batches, items = parent.get_batch_samples(iter(micro), len(micro), device)
        return [batches] if batches else [], items

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        trainer: Any = self
        parent: Any = super()
        outputs: list[Any] = []
        hook = trainer.model.register_forward_hook(lambda module, args, output: outputs.append(output))
        try:
            told = contextlib.nullcontext() if self._sums or self._step() else _first_pass(trainer.model.config)
            with told, _ungathered(trainer.accelerator):
                loss = parent.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        finally:
            hook.remove()
        self.tally(self.measure(outputs[0], inputs, loss.detach()))
        return self.weigh(loss, outputs[0], inputs)

    def tally(self, sums: dict[str, Any]) -> None:
        """Adds a micro batch's sums to the step's."""
        for name, value in sums.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().float()

    def training_step(self, model: Any, inputs: list[Any], num_items_in_batch: Any = None) -> Any:
        """The passes of a step; processes share their gradients in the last."""
        if self._started is None:
            self._started = (time.perf_counter(), 0)
        trainer: Any = self
        parent: Any = super()
        trainer.current_gradient_accumulation_steps = len(inputs)  # over which TRL averages what balances experts
        losses = []
        for left, micro in zip(range(len(inputs) - 1, -1, -1), inputs, strict=True):
            with unsynchronised(trainer, model) if left else contextlib.nullcontext():
                losses.append(parent.training_step(model, micro, num_items_in_batch))
            self._refuse_non_finite("loss", float(losses[-1]), step=self._step() + 1)
        return sum(losses)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """One line per step; runs before a state of the step is saved."""
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
            self.trackers.log(metrics)
        try:
            if self._progress is not None:
                self._progress(TrainProgress(self._step(), trainer.state.max_steps, metrics, self._rate(metrics)))
        except KeyboardInterrupt:
            self.interruption.wanted = True
        if self.stopped or self._step() == self.until:
            trainer.control.should_save = trainer.control.should_training_stop = True
        self.saving = bool(trainer.control.should_save)
        if self.is_over:  # of this state nothing but the weights is ever read
            trainer.args.save_only_model = True

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        trainer: Any = self
        return math.ceil(float(trainer.args.num_train_epochs) * self.batches.steps)

    @property
    def is_over(self) -> bool:
        """Whether the last step was taken."""
        return self._step() >= self.total

    @property
    def stopped(self) -> bool:
        """Whether the training is to end before its last step; of several processes one alone cannot say so."""
        trainer: Any = self
        return self._agreed if trainer.args.world_size > 1 else self.interruption.wanted

    def seal(self) -> None:
        """Marks the state that was just saved as whole, once the log of its steps is on the disk too."""
        trainer: Any = self
        trainer.accelerator.wait_for_everyone()
        self._frame.log.flush()
        hashes = self._frame.store.hashes(self._step(), trainer.args.process_index, trainer.args.world_size)
        if trainer.args.world_size > 1:
            from accelerate.utils import gather_object  # type: ignore[import-untyped]  # it has no types

            hashes = dict(gather_object(list(hashes.items())))
        if trainer.is_world_process_zero():
            self._frame.store.seal(self._step(), hashes)
            self._frame.store.keep_newest(trainer.args.save_total_limit)
        self.saving = False

    def _metrics_of(self, logs: dict[str, float]) -> dict[str, float]:
        sums = self._step_sums()
        return {
            "step": self._step(),
            "epoch": self._step() / self.batches.steps,
            "loss": logs["loss"],
            "lr": logs["learning_rate"],
            "grad_norm": logs["grad_norm"],
            "tokens": int(sums["tokens"]),
            **self.means(sums),
        }

    def _step_sums(self) -> dict[str, float]:
        """The step's sums over all processes; the next step begins with none."""
        import torch

        trainer: Any = self
        sums, self._sums = self._sums, {}
        wanted = torch.full_like(next(iter(sums.values())), float(self.interruption.wanted))
        stacked = torch.stack([*sums.values(), wanted])
        *values, interrupted = trainer.accelerator.reduce(stacked, reduction="sum").tolist()
        self._agreed = interrupted > 0
        return dict(zip(sums, values, strict=True))

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


def sample(row: dict[str, Any]) -> Any:
    """A data set of one row, for TRL to look at; what is trained are ``Rows``."""
    from datasets import Dataset

    return Dataset.from_dict({name: [value] for name, value in row.items()})


@contextlib.contextmanager
def _ungathered(accelerator: Any) -> Iterator[None]:
    """TRL gathers figures of each micro batch, which nobody reads here, from all processes, as if these had as many
    records each: in a step that is not divided evenly that fails."""
    accelerator.gather = accelerator.gather_for_metrics = lambda tensor, *args, **kwargs: tensor
    try:
        yield
    finally:
        del accelerator.gather, accelerator.gather_for_metrics


@contextlib.contextmanager
def _first_pass(config: Any) -> Iterator[None]:
    """Says of a model that TRL and transformers cannot train together that it is this; they stop in many ways.

    Raises:
        TrainingError: the pass failed, but for want of memory.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise TrainingError(
            f"TRL cannot train a model of type {config.model_type!r} with this transformers: its first forward pass "
            f"ended in {type(error).__name__}: {error}. Nothing was trained. Choose another base."
        ) from error


def rate_factor(step: int, steps: int, warmup: int, floor: float) -> float:
    """The learning rate of a step (0 is the first) as a part of the highest: linear warmup, then a cosine to ``floor``.

    A warmup of n steps takes 1/(n+1) of the rate in its first.

    >>> [rate_factor(step, 5, 2, 0.0) for step in range(3)]
    [0.3333333333333333, 0.6666666666666666, 1.0]
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * progress)) * (1 - floor) + floor


def _sealing(trainer: Any) -> Any:
    from transformers import TrainerCallback

    class Sealing(TrainerCallback):  # type: ignore[misc]  # transformers has no types
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            trainer.seal()

    return Sealing()
