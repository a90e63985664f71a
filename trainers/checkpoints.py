"""Checkpoints: writing one in Hugging Face layout, and telling whether two are the same model.

A checkpoint's bytes depend on the weights, the tokenizer and the card alone: no times, no paths of the machine, no
pickles. Two questions are answered apart: do the FILES hold the same weights (``weights_fingerprint``), and does the
MODEL that is loaded from them compute the same (``logit_probe``), which also catches weights that were never loaded.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from selfreward_bench.bases.card import front_matter
from selfreward_bench.errors import EngineError, TrainingError
from selfreward_bench.sources.hub import hub_name
from selfreward_bench.storage.adapters import ADAPTER, parts
from selfreward_bench.storage.files import os_errors, sync_directory
from selfreward_bench.storage.fingerprint import weights_dtypes
from selfreward_bench.types import Record
from trainers.resume import sync_file
from trainers.sharding import reshard

PROBE_LENGTH = 16  # tokens per probe sequence
PROBE_SEQUENCES = 4
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}  # other types of a base become float32


class ModelCard(Record):
    """What a checkpoint says of itself.

    Attributes:
        name: the checkpoint's place in the run, such as ``M2``.
        parent: the model it was trained from.
        parent_fingerprint: ``weights_fingerprint`` of that model.
        stage: ``sft`` or ``dpo``.
        recipe: the settings of the training.
        counts: records, steps and whatever else was counted.
        lora: the settings of the adapter that was trained, and what came of it; None where all weights were.
    """

    name: str
    parent: str
    parent_fingerprint: str
    stage: str
    recipe: dict[str, Any]
    counts: dict[str, int]
    lora: dict[str, Any] | None = None


def partial_of(directory: Path) -> Path:
    """Where a checkpoint is until it is whole."""
    return directory.with_name(directory.name + ".partial")


def save_checkpoint(
    model: Any,
    tokenizer: Any,
    directory: Path,
    card: ModelCard,
    base: Path | None = None,
    write: Callable[[Path], None] | None = None,
) -> None:
    """Writes weights (safetensors), configuration, tokenizer, chat template and card; all of it or nothing.

    The directory appears under its name when it is whole; one that was there before is replaced.

    Args:
        base: of an adapter, which is written alone: the directory of the model that it lies over.
        write: writes weights and configuration; the model does it itself if None.

    Raises:
        TrainingError: the operating system refuses (no space left, no permission).
    """
    partial = partial_of(directory)
    if partial.is_symlink():
        partial.unlink()  # it may lead anywhere
    shutil.rmtree(partial, ignore_errors=True)
    with refused_writes(directory), quiet_libraries():
        if base is not None:
            _save_adapter(model, partial, base)
        elif write is not None:
            partial.mkdir(parents=True)
            write(partial)
        else:
            model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _pair_tokenizer_code(partial / "tokenizer_config.json")
        write_card(partial, card)
        for file in partial.rglob("*"):
            sync_directory(file) if file.is_dir() else sync_file(file)
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)
        sync_directory(directory.parent)


def _save_adapter(model: Any, directory: Path, base: Path) -> None:
    """Writes an adapter with the name of its base: the hub's where it is in the hub's cache, else the absolute path."""
    named = hub_name(base) or str(base.resolve())
    name, _, revision = named.partition("@") if hub_name(base) else (named, "", "")
    trained = {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}  # not what is frozen
    model.save_pretrained(directory, state_dict=trained, save_embedding_layers=False)
    file = directory / ADAPTER
    settings = json.loads(file.read_text("utf-8")) | {"base_model_name_or_path": name, "revision": revision or None}
    ordered = {key: sorted(value) if key == "target_modules" else value for key, value in settings.items()}
    file.write_text(json.dumps(ordered, indent=2, sort_keys=True) + "\n", "utf-8")
    model.generation_config.save_pretrained(directory)


def _pair_tokenizer_code(file: Path) -> None:
    """transformers 5 names the class of a tokenizer's own code as a text, and reads a pair (slow, fast) of them."""
    if not file.is_file():
        return
    settings = json.loads(file.read_text("utf-8"))
    code = settings.get("auto_map")
    if isinstance(code, dict) and isinstance(name := code.get("AutoTokenizer"), str):
        code["AutoTokenizer"] = [name, None]
        file.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")


def saved_dtypes(dtype: str, base: Path) -> Callable[[str], Any]:
    """In which of torch's types the weight of a name is saved.

    Args:
        dtype: ``base`` is that of the model it was trained from, tensor by tensor; or a type for all (``bfloat16``).
        base: directory of that model.
    """
    import torch

    most, each = weights_dtypes(base) if dtype == "base" else (dtype, {})

    def chosen(name: str) -> Any:
        named = each.get(name, most)
        return getattr(torch, _DTYPES.get(named, named), torch.float32)

    return chosen


def round_weights(model: Any, dtypes: Callable[[str], Any]) -> None:
    """Gives a model the types its weights are saved in.

    Raises:
        TrainingError: a weight is too large for its type.
    """
    saved = model.state_dict()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name in saved and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtypes(name))
            if not bool(tensor.isfinite().all()):
                raise cannot_hold(name, dtypes(name))


def cannot_hold(name: str, dtype: Any) -> TrainingError:
    """What is said of a weight that is too large for the type that it is saved in."""
    return TrainingError(
        f"{name} holds values that {str(dtype).removeprefix('torch.')} cannot hold; no checkpoint was written. Set "
        "save_dtype to bfloat16 or float32 and start again: what was trained is kept."
    )


def write_card(directory: Path, card: ModelCard) -> None:
    """Writes the model card, ``README.md``: the record as YAML front matter, then the same for readers."""
    front = {"library_name": "transformers", "tags": ["srbench", "self-rewarding"], "srbench": card.model_dump()}
    adapter = {f"lora.{key}": value for key, value in (card.lora or {}).items()}
    settings = "\n".join(f"| {key} | {value} |" for key, value in (card.recipe | adapter).items())
    counts = "\n".join(f"| {key} | {value} |" for key, value in card.counts.items())
    text = (
        f"---\n{yaml.safe_dump(front, sort_keys=True, allow_unicode=True)}---\n\n# {card.name}\n\n"
        f"Trained by srbench ({card.stage.upper()}) from {card.parent}, whose weights have the fingerprint "
        f"`{card.parent_fingerprint}`.\n\n| setting | value |\n|---|---|\n{settings}\n\n"
        f"| count | value |\n|---|---|\n{counts}\n"
    )
    (directory / "README.md").write_text(text, "utf-8")


def read_card(directory: Path) -> ModelCard | None:
    """The card srbench wrote into a checkpoint, or None where there is none of ours."""
    try:
        return ModelCard.model_validate(front_matter(directory / "README.md")["srbench"])
    except (KeyError, ValueError):  # not our record
        return None


def model_name(directory: Path) -> str:
    """What a model is called: by its card, else by its directory."""
    card = read_card(directory)
    return card.name if card else directory.resolve().name


def logit_probe(directory_or_model: Any, *, trust_remote_code: bool = False) -> list[float]:
    """What a model computes on a few fixed token sequences: for each, at its last position, the log of the
    normaliser, the largest logit, and the logits of three tokens.

    The sequences are made of ids, not of text, so a model needs no tokenizer to be probed. Computed in float32 on the
    device the model is on, without dropout; equal models on one machine give equal values.

    Raises:
        EngineError: the directory holds no model that can be loaded.
    """
    import torch

    model = directory_or_model
    if isinstance(model, (str, Path)):
        model = _loaded(model, trust_remote_code)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = [[(7919 * i + 104729 * s + 13) % vocabulary for i in range(PROBE_LENGTH)] for s in range(PROBE_SEQUENCES)]
    training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids, device=model.device)).logits[:, -1].float()  # (sequences, words)
    model.train(training)
    reshard(model)
    picked = [0, vocabulary // 2, vocabulary - 1]
    values = torch.cat([logits.logsumexp(1, keepdim=True), logits.amax(1, keepdim=True), logits[:, picked]], dim=1)
    return [float(v) for v in values.flatten()]


def _loaded(directory: str | Path, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM

    from selfreward_bench.engines.adapters import whole
    from selfreward_bench.engines.loading import CHECKED, cause, check_complete, return_logits_alone
    from selfreward_bench.engines.quantised import read_portably, silently

    of = parts(Path(directory))
    options = CHECKED | {"dtype": "float32", "trust_remote_code": trust_remote_code}
    try:
        with quiet_libraries():
            config = read_portably(of.weights, trust_remote_code=trust_remote_code)
            with silently(config):
                model, report = AutoModelForCausalLM.from_pretrained(str(of.weights), config=config, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EngineError(
            f"No model can be loaded from {directory}: {cause(error)} It needs config.json and safetensors weights."
        ) from error
    check_complete(directory, report)
    return_logits_alone(model.config)
    return whole(model, of)


@contextlib.contextmanager
def refused_writes(path: Path) -> Iterator[None]:
    """Turns what torch, safetensors and the system say of a full or forbidden disk into a TrainingError."""
    from safetensors import SafetensorError

    try:
        with os_errors(path, "write", TrainingError):
            yield
    except (SafetensorError, RuntimeError) as error:  # torch's and safetensors' writers have errors of their own
        there = next(p for p in path.absolute().parents if p.exists())
        raise TrainingError(
            f"Cannot write {path}: {error}. {shutil.disk_usage(there).free:,} bytes are free there. Free some space "
            "or change the permissions, and start again; what is complete stays as it is."
        ) from error


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars, advice or news of deprecations among the libraries themselves, and no reports to their makers
    (TRL sends one for each trainer); errors still raise.
    """
    from huggingface_hub import constants
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    untold = constants.HF_HUB_DISABLE_TELEMETRY  # what the environment variable of this name sets at import
    logging.set_verbosity(logging.CRITICAL)  # whole configurations are among its reports of errors, which are raised
    logging.disable_progress_bar()
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"(trl|transformers)\.")
            warnings.filterwarnings("ignore", module=r"(peft|bitsandbytes)\.")
            yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = untold
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
