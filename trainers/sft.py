"""Supervised fine-tuning on TRL's SFTTrainer: the loss is on the completion's tokens only.

Reads finished examples and knows nothing of where they come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from selfreward_bench.config import LoraConfig, SftConfig
from selfreward_bench.engines.quantised import import_quietly
from selfreward_bench.errors import DataError
from selfreward_bench.progress import Tell
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import Example
from trainers.arguments import arguments, split_of, training_arguments
from trainers.bases import load_model
from trainers.batches import Rows
from trainers.checkpoints import ModelCard, model_name, quiet_libraries
from trainers.environment import join_processes, without_settings
from trainers.rendering import (
    Turn,
    digest,
    load_tokenizer,
    local_directory,
    longest,
    render_turns,
    within,
)
from trainers.sharding import Sharding, usable
from trainers.shards import with_shard_states
from trainers.stepping import ExactTrainer, sample
from trainers.tracking import Trackers, Tracking
from trainers.training import (
    TrainProgress,
    TrainResult,
    finish,
    open_frame,
    plan_of,
    read_result,
    run_steps,
)

IGNORED = -100  # a label that carries no loss


@without_settings()
def train_sft(
    base: str | Path,
    examples: Sequence[Example],
    config: SftConfig,
    out_dir: Path,
    *,
    seed: int,
    chat_template: str | None = None,
    lora: LoraConfig | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    tell: Tell | None = None,
    trust_remote_code: bool = False,
    date: str | None = None,
    track: Tracking | None = None,
    attn_implementation: str | None = None,
    sharding: Sharding | None = None,
) -> TrainResult:
    """Trains ``base`` on the examples and writes ``out_dir/checkpoint``.

    Called again after a kill it continues from the newest whole state and ends with the same weights; called again
    after the end it only reads its result.

    Args:
        base: directory in Hugging Face layout, or a hub id. Without a chat template it gets the plain one.
        chat_template: which one it gets instead, whatever it brings (``RunConfig.chat_template``).
        lora: trains an adapter and merges it; None trains all weights.
        out_dir: belongs to this training alone (``trainers.resume`` draws what is in it).
        progress: called after each step; a KeyboardInterrupt from it stops as Ctrl-C does.
        tell: given lines worth reading.
        trust_remote_code: runs code that comes with the model; without, nothing does and nobody is asked.
        date: what a chat template that shows the day shows (YYYY-MM-DD); None is today.
        track: the experiment trackers that are told each step.
        attn_implementation: kernel of attention (``EngineConfig``); None is transformers' choice.
        sharding: shares the model out over the processes of a launcher; None leaves it whole in each.

    Raises:
        TrainingError: nothing to train on, a base that cannot be trained, a loss that is no number.
        ConfigError: a chat template that cannot be used; ``WORLD_SIZE`` is set, and no other process is there.
        DataError: an example that cannot be rendered.
        IncompatibleRunError: ``out_dir`` holds another training.
        KeyboardInterrupt: interrupted, with the state of the last step saved.
    """
    import_quietly()  # TRL imports it
    from trl import SFTConfig as TrlSftConfig

    from selfreward_bench.engines.loading import release_memory

    started = time.perf_counter()
    join_processes()
    source = local_directory(base)
    sharding = usable(sharding, source, config, lora)
    tokenizer = load_tokenizer(
        source,
        default_template=True,
        chat_template=chat_template,
        trust_remote_code=trust_remote_code,
        date=date,
    )
    try:
        turns, truncated = render_examples(tokenizer, examples, longest(source, config.max_length, trust_remote_code))
    except DataError as error:
        raise DataError(f"chat_template {chat_template}: {error}" if chat_template else str(error)) from error
    fingerprint = weights_fingerprint(source)
    args = arguments(
        TrlSftConfig,
        **training_arguments(config, out_dir / "resume", seed, sharding),
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    plan = plan_of("sft", fingerprint, digest(*columns(turns)), config, lora, seed, attn_implementation, sharding)
    frame = open_frame(args, out_dir, plan, tell)
    if not frame.finished:
        loaded = load_model(
            source,
            config.dropout,
            lora=lora,
            seed=seed,
            trust_remote_code=trust_remote_code,
            attn_implementation=attn_implementation,
            sharding=sharding,
            bf16=config.bf16,
            tell=tell,
        )
        blank = blank_row(tokenizer.pad_token_id)
        with quiet_libraries():
            trainer = with_shard_states(_trainer_class(), loaded.model)(
                model=loaded.model, args=args, train_dataset=sample(blank), processing_class=tokenizer
            )
        rows = Rows(len(turns), lambda at: labelled_row(turns[at]), blank)
        trackers = Trackers(track if trainer.is_world_process_zero() else None, out_dir, plan, tell)
        lengths = [len(turn) for turn in turns]
        trainer.attach(rows, lengths, split_of(args, config), frame, seed, progress, trackers)
        steps = run_steps(trainer, frame, trust_remote_code)
        card = ModelCard(
            name=out_dir.name,
            parent=model_name(source),
            parent_fingerprint=fingerprint,
            stage="sft",
            recipe=config.model_dump(mode="json"),
            counts={"examples": len(turns), "truncated": truncated, "steps": steps},
        )
        finish(trainer, frame, loaded, turns, card, config.save_dtype)
        del trainer, loaded
        release_memory()
    return read_result(frame, truncated, started)


def render_examples(tokenizer: Any, examples: Sequence[Example], max_length: int) -> tuple[Sequence[Turn], int]:
    """Renders the examples; those over ``max_length`` tokens are left out and counted, never cut.

    Raises:
        TrainingError: no example is left.
    """
    turns = render_turns(tokenizer, ((e.id, e.prompt, e.completion) for e in examples))
    return within(turns, max_length, "SFT", "examples", "Give examples (seeds.ift), or raise sft.max_length.")


def labelled_row(turn: Turn) -> dict[str, list[int]]:
    """What SFTTrainer takes as it is: all ids, and the completion's as labels.

    >>> labelled_row(Turn([5, 6], [7, 1]))
    {'input_ids': [5, 6, 7, 1], 'labels': [-100, -100, 7, 1]}
    """
    return {"input_ids": turn.prompt + turn.completion, "labels": [IGNORED] * len(turn.prompt) + turn.completion}


def blank_row(pad: int) -> dict[str, list[int]]:
    """A row that carries no loss (``trainers.batches.StepBatches``)."""
    return {"input_ids": [pad, pad], "labels": [IGNORED, IGNORED]}


def columns(turns: Sequence[Turn]) -> list[Iterator[list[int]]]:
    """The columns of all rows, for ``digest``."""
    return [map(itemgetter(name), map(labelled_row, turns)) for name in ("input_ids", "labels")]


def _trainer_class() -> Any:
    """TRL's trainer with the loop's own behaviour around its steps."""
    from trl import SFTTrainer

    class Trainer(ExactTrainer, SFTTrainer):  # type: ignore[misc]  # TRL has no types
        def measure(self, output: Any, inputs: Any, loss: Any) -> dict[str, Any]:
            real = (inputs["labels"] != IGNORED).any(1)
            return {
                "tokens": inputs["attention_mask"][real].sum(),
                "trained": output.label_mask.sum(),
                "right": output.is_top1.sum(),
            }

        def means(self, sums: dict[str, float]) -> dict[str, float]:
            return {"mean_token_accuracy": sums["right"] / sums["trained"]}

    return Trainer
