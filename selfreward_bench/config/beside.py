"""What accompanies a training on preferences: judgments that are rehearsed, and which of its steps is kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

from selfreward_bench.config.section import Judge, Positive, PositiveInt, Section, Spec

Rehearsed = Literal["own", "contrast", "soft", "eft", "renewed"]
OF_PEOPLE = frozenset({"eft", "renewed"})  # what is rehearsed is made of human seed data, used again


def _kinds(given: object) -> object:
    """``none`` is no kind, and a word is the list of it alone; a kind that comes twice counts once."""
    if isinstance(given, str):
        return () if given == "none" else (given,)
    return tuple(dict.fromkeys(given)) if isinstance(given, list | tuple) else given


_KIND_SCHEMA = {"enum": list(get_args(Rehearsed))}


class RehearsalConfig(Section):
    """Judgments that are trained beside the preferences, so that the model does not unlearn to judge."""

    what: Annotated[
        tuple[Rehearsed, ...],
        BeforeValidator(_kinds),
        WithJsonSchema({"anyOf": [{"enum": ["none", *get_args(Rehearsed)]}, {"type": "array", "items": _KIND_SCHEMA}]}),
    ] = Field(
        (),
        description="none, or of own, contrast, soft (the model's own), eft, renewed (human seed data), one or a list.",
    )
    weight: Positive = Field(
        1.0, description="Weight of their mean negative log-likelihood per token, beside DPO's loss."
    )
    size: PositiveInt = Field(64, description="Judgments per optimizer step, over all processes.")
    alone: bool = Field(
        False, description="Control: the pairs carry no loss, and the judgments alone are trained in as many steps."
    )

    def made_of(self) -> dict[str, Any]:
        """What decides which judgments there are; the rest is how they are trained."""
        return self.model_dump(include={"what", "size"})


class SelectConfig(Section):
    """Which step of a preference training a round keeps: checkpoints are compared by a judge (docs/training.md)."""

    every: PositiveInt | None = Field(
        None, description="Steps between checkpoints that are compared (paper: 200); null: the last step is kept."
    )
    judge: Judge = Field(
        "self",
        description="Who compares: self (the parent), base, another model, or oracle (micro-world, validation split).",
    )
    prompt: str = Field("pairwise", description="The judge prompt that compares two answers, asked in both orders.")
    prompts: Spec = Field("micro", description="Validation prompts: micro (embedded) or a file (docs/formats.md).")
    limit: PositiveInt | None = Field(253, description="The first so many of them (paper: 253); null takes all.")
