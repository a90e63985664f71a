"""A trained reward model in the judge's place: a sequence classifier with one output, whose number is the reward.

Its weights are safetensors, and code that comes with it runs only with ``engine.trust_remote_code``. It reads a prompt
with an answer by its own chat template; without one, as a pair of texts, as classifiers of the BERT family do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from selfreward_bench.config import EngineConfig, RewardModelConfig
from selfreward_bench.engines.base import TOO_LONG
from selfreward_bench.errors import ConfigError, EngineError
from selfreward_bench.judges.pointwise import JudgeItem
from selfreward_bench.progress import Reporter
from selfreward_bench.storage.fingerprint import weights_fingerprint
from selfreward_bench.types import Judgment
from trainers.batches import Split
from trainers.likelihood import append_missing

__all__ = ["RewardModel"]

_MOST_TOKENS: Final = 16_384  # of a pass
_MOST_ANSWERS: Final = 64


class RewardModel:
    """A reward model, opened when it is asked.

    Raises:
        ConfigError: none is named.
        EngineError: it is not there, or has no safetensors.
    """

    def __init__(self, config: RewardModelConfig, engine: EngineConfig) -> None:
        from trainers.rendering import local_directory

        if config.name is None:
            raise ConfigError(
                "rewards: reward-model needs a model: set reward_model.name to a directory or OWNER/NAME[@REVISION]."
            )
        self.name, self._config, self._engine = config.name, config, engine
        self._directory: Path = local_directory(config.name)

    @cached_property
    def fingerprint(self) -> str:
        """Of its weights."""
        return weights_fingerprint(self._directory)

    @property
    def key(self) -> str:
        """In the place of a judge's: what its judgments are by."""
        return f"reward-model/{self.fingerprint}"

    def write(self, items: Sequence[JudgeItem], path: Path, *, reporter: Reporter, stage: str) -> dict[str, float]:
        """Writes the reward of each answer as a judgment; what ``path`` holds is not computed again.

        Returns:
            ``judged``, ``judgments``, ``parsed``, ``too_long``.

        Raises:
            EngineError: it is no sequence classifier with one output, or some of its weights are not there.
        """
        from selfreward_bench.engines.loading import choose_device

        reporter.started(stage, len(items), "rewards")
        model, tokenizer = self._load()
        device = choose_device(self._engine.device)
        model = model.to(device).eval()
        ids = [_encoded(tokenizer, item) for item in items]
        limit = min(self._config.max_length, _positions(model) or self._config.max_length)

        def compute(batch: Sequence[int]) -> list[Judgment]:
            fits = [at for at in batch if len(ids[at]["input_ids"]) <= limit]
            scores = dict(zip(fits, _scores(model, [ids[at] for at in fits], device), strict=True))
            return [self._judgment(items[at], scores.get(at)) for at in batch]

        found = append_missing(
            path,
            Judgment,
            [item.id for item in items],
            [min(len(row["input_ids"]), limit) for row in ids],
            Split(_MOST_ANSWERS, _MOST_ANSWERS, tokens=_MOST_TOKENS),
            compute,
            reporter.advanced,
        )
        parsed = sum(judgment.score is not None for judgment in found)
        return {"judged": len(items), "judgments": len(found), "parsed": parsed, TOO_LONG: len(found) - parsed}

    def _judgment(self, item: JudgeItem, score: float | None) -> Judgment:
        reason = TOO_LONG if score is None else None
        return Judgment(prompt_id=item.prompt_id, index=item.index, judge=self.key, score=score, raw="", reason=reason)

    def check(self) -> None:
        """Finds out by its files alone whether it can be used, before anything is made.

        Raises:
            EngineError: as ``write``.
        """
        self._load(device_map="meta")

    def _load(self, **how: str) -> tuple[Any, Any]:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from selfreward_bench.engines.loading import CHECKED, cause, check_complete
        from trainers.checkpoints import quiet_libraries

        trusted = {"trust_remote_code": self._engine.trust_remote_code, **how}
        try:
            with quiet_libraries():
                tokenizer = AutoTokenizer.from_pretrained(
                    str(self._directory), trust_remote_code=self._engine.trust_remote_code
                )
                model, report = AutoModelForSequenceClassification.from_pretrained(
                    str(self._directory), dtype="float32", **CHECKED, **trusted
                )
        except Exception as error:  # whatever a broken checkpoint causes
            raise EngineError(
                f"{self.name} cannot be loaded as a reward model (reward_model.name): {cause(error)} It must be a "
                "sequence classifier in Hugging Face layout with safetensors."
            ) from error
        check_complete(self.name, report)  # a language model would get a random head
        if model.config.num_labels != 1:
            raise EngineError(
                f"{self.name} has {model.config.num_labels} outputs (num_labels); a reward model has one. Name another "
                "one in reward_model.name."
            )
        return model, tokenizer


def _positions(model: Any) -> int | None:
    from selfreward_bench.engines.loading import usable_positions

    return usable_positions(model.config)


def _encoded(tokenizer: Any, item: JudgeItem) -> dict[str, list[int]]:
    """Token ids; control strings in the texts are neutralised."""
    from selfreward_bench.engines.control_tokens import heading_strings, neutralise, special_strings
    from selfreward_bench.judges.prompts import render_conversation

    specials = special_strings(tokenizer)
    if tokenizer.chat_template:
        headings = heading_strings(tokenizer)
        said = [*((m.role, m.content) for m in item.messages), ("assistant", item.response)]
        messages = [{"role": role, "content": neutralise(text, specials, headings)} for role, text in said]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        found = tokenizer(text, add_special_tokens=False)
    else:
        found = tokenizer(*(neutralise(t, specials) for t in (render_conversation(item.messages), item.response)))
    return {name: list(found[name]) for name in ("input_ids", "token_type_ids") if name in found}


def _scores(model: Any, rows: Sequence[dict[str, list[int]]], device: Any) -> list[float]:
    """The classifier's number of each text, as it gives it of the text alone.

    Where a text ends, a classifier over a language model knows by ``pad_token_id`` of its configuration, and nothing
    else; without one it takes the last place, so that other texts are filled up with a word that none of them has.
    """
    import torch

    if not rows:
        return []
    config = model.config.get_text_config()
    told, size = config.pad_token_id, model.get_input_embeddings().weight.shape[0]
    fill = told if told is not None and 0 <= told < size else _unused(rows, size)
    if fill is None and len(rows) > 1:
        return [score for row in rows for score in _scores(model, [row], device)]
    width = max(len(row["input_ids"]) for row in rows)
    fills = {"input_ids": fill or 0, "token_type_ids": 0}
    inputs = {
        name: torch.tensor([row[name] + [fills[name]] * (width - len(row[name])) for row in rows], device=device)
        for name in rows[0]
    }
    lengths = torch.tensor([[len(row["input_ids"])] for row in rows], device=device)
    inputs["attention_mask"] = (torch.arange(width, device=device)[None] < lengths).long()
    config.pad_token_id = fill
    try:
        with torch.inference_mode():
            scores: list[float] = model(**inputs).logits[:, 0].float().tolist()
    finally:
        config.pad_token_id = told
    return scores


def _unused(rows: Sequence[dict[str, list[int]]], size: int) -> int | None:
    used = {token for row in rows for token in row["input_ids"]}
    return next((token for token in range(size) if token not in used), None)
