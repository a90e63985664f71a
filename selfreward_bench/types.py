"""The records that files and interfaces carry: frozen, unknown fields refused.

A judgment that could not be parsed has ``score=None`` with its raw text and a reason; it is never a number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "refused"]
Unit = Literal["points", "grade", "share", "percent", "correlation", "characters", "nats", "rating", "count"]


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Message(Record):
    """One chat turn."""

    role: Role
    content: str


class Prompt(Record):
    """One instruction to a model."""

    id: str = Field(min_length=1)
    messages: tuple[Message, ...] = Field(min_length=1)
    source: str = ""
    category: str | None = None

    @property
    def text(self) -> str:
        """The content of the last user turn."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


class Completion(Record):
    """One answer of a model to one prompt.

    Attributes:
        index: number of the sample, 0 .. n-1.
        n_tokens: generated tokens, without the end token.
        finish_reason: ``length`` means the answer was cut at ``max_new_tokens``; ``refused`` that a served model gave
            none: of a judge, a later evaluation asks anew.
        seed: the seed of exactly this sample.
        thinking: what a served model thought before; no part of the answer, but of its tokens. Written down where there
            is any.
    """

    prompt_id: str
    index: int
    text: str
    n_tokens: int
    finish_reason: FinishReason
    seed: int
    thinking: str = ""

    @model_serializer(mode="wrap")
    def _without_empty_thinking(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.thinking:
            values.pop("thinking", None)
        return values

    @property
    def id(self) -> str:
        return f"{self.prompt_id}/{self.index}"


class Judgment(Record):
    """One judgment of one response.

    Attributes:
        index: which response of the prompt was judged (``Completion.index``).
        sample: number of the judgment of this response, 0 .. k-1.
        judge: key of the judge: prompt name@version, mode, checkpoint.
        score: in the judge prompt's range; None when the text holds no valid verdict.
        raw: what the judge generated (mode ``expected``: the distribution over scores as JSON).
        reason: why ``score`` is None: ``no_verdict``, ``out_of_range``, ``conflicting``, ``truncated``; ``low_mass``
            where the grades together had too little probability.
        order: pairwise judges only: ``ab`` or ``ba``.
    """

    prompt_id: str
    index: int
    sample: int = 0
    judge: str
    score: float | None
    raw: str
    reason: str | None = None
    n_tokens: int = 0
    order: Literal["ab", "ba"] | None = None

    @property
    def id(self) -> str:
        return f"{self.prompt_id}/{self.index}/{self.sample}" + (f"/{self.order}" if self.order else "")


class Reward(Record):
    """What all judgments of one response come to.

    Attributes:
        score: mean of the parsed scores, None when none parsed.
        spread: standard deviation of the parsed scores (mode ``expected``: of the score distribution).
        n_parsed, n_judgments: how many of how many judgments gave a score.
    """

    prompt_id: str
    index: int
    score: float | None
    spread: float | None = None
    n_parsed: int
    n_judgments: int
    n_tokens: int = 0

    @property
    def id(self) -> str:
        return f"{self.prompt_id}/{self.index}"


class PreferencePair(Record):
    """One preference, in the layout TRL's DPOTrainer takes (conversational)."""

    prompt_id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_score: float
    rejected_score: float
    chosen_index: int
    rejected_index: int

    @property
    def id(self) -> str:
        return self.prompt_id


class Example(Record):
    """One supervised example: a prompt and the completion whose tokens carry the loss."""

    id: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    source: str = ""


class RankedResponse(Record):
    """One human-ranked response; ``rank`` 0 is the best, equal ranks are ties.

    ``review`` is a finished judgment text (justification and score line) where the seed data brings one.
    """

    text: str
    rank: int = Field(ge=0)
    review: str | None = None


class RankedPrompt(Record):
    """One prompt with human-ranked responses (the source of EFT and of judge evaluation)."""

    id: str = Field(min_length=1)
    messages: tuple[Message, ...] = Field(min_length=1)
    responses: tuple[RankedResponse, ...] = Field(min_length=2)
    category: str | None = None


class TwoTurnQuestion(Record):
    """A question and its follow-up, each with a reference answer (MT-Bench's layout in small)."""

    id: str
    category: str
    turns: tuple[str, str]
    reference: tuple[str, str]


class ChoiceQuestion(Record):
    """A multiple-choice question; ``answer`` is the index of the right choice."""

    id: str
    question: str
    choices: tuple[str, ...] = Field(min_length=2)
    answer: int = Field(ge=0)


class SampleScore(Record):
    """The score of one sample of a benchmark; None is 'not scored', with the reason."""

    sample_id: str
    value: float | None
    cluster: str = ""
    reason: str | None = None
    detail: dict[str, Any] = {}


class Metric(Record):
    """A number with its 95% interval and how much of the data it rests on."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n_scored: int
    n_total: int


class MetricInfo(Record):
    """How a metric is shown.

    Attributes:
        unit: ``points`` (0..5), ``grade`` (1..10), ``share`` (0..1, shown in per cent), ``percent`` (0..100),
            ``correlation`` (-1..1), ``characters``, ``nats``, ``rating`` (Elo scale) or ``count``.
        better: +1 when more is better, -1 when less is, 0 when neither.
    """

    label: str = Field(min_length=1, max_length=200)
    unit: Unit
    better: Literal[-1, 0, 1] = 1


_MetricName = Annotated[str, Field(min_length=1, max_length=200)]


class Description(Record):
    """How a benchmark is shown. It may come from a file of unknown origin, so its size is bounded.

    Attributes:
        metrics: metric -> how it is shown, in the order of the table; the main one is the first that has a better and
            a worse.
        paired: metrics whose differences between checkpoints are worth an interval.
    """

    title: str = Field(min_length=1, max_length=100)
    metrics: dict[_MetricName, MetricInfo] = Field(default={}, max_length=500)
    paired: tuple[_MetricName, ...] = Field(default=(), max_length=500)


class EvalResult(Record):
    """What one benchmark says of one checkpoint.

    Attributes:
        description: how its numbers are shown where nothing else says it: of a benchmark that srbench does not bring
            itself, and of metrics that a file brought to one of its own.
        comparability: what two numbers must share to be compared (judge and its snapshot, prompt hash, parameters,
            order policy, reference and data hashes).
        hardware: what it was computed on (``selfreward_bench.hardware``); it is no part of comparability.
        settings: what ``config_hash`` was made of, the weights aside: dotted names and their values as text. Empty in
            results of early versions.
        source: where a model of the hub came from, ``OWNER/NAME@COMMIT``; empty for all others.
        fingerprint: of the model: of its weights, ``+``, of the files that say how they are used
            (``storage.model_files``). That of a served model is of its name and address, that of finished files of
            their bytes. Results of early versions have the weights' part alone.
        chat_template: name and hash of what rendered its messages, as ``RunConfig.chat_template`` says; empty for the
            model's own.
        date: the day that its chat template showed; empty where it shows none.
        incomplete: samples to be asked for again on the next call.
        notes: what a reader of the numbers has to know, a sentence each.
        seconds: of the call that finished it.
        cost: of all calls that worked on it, in the currency of the price table; what calls under way cost when an
            evaluation is killed is not in it.
    """

    checkpoint: str
    fingerprint: str
    source: str = ""
    chat_template: str = ""
    date: str = ""
    benchmark: str
    description: Description | None = None
    judge: str | None
    metrics: dict[str, Metric]
    config_hash: str
    settings: dict[str, str] = {}
    versions: dict[str, str]
    hardware: dict[str, str | int | float] = {}
    seconds: float
    cost: float = 0.0
    comparability: dict[str, str] = {}
    incomplete: int = 0
    notes: tuple[str, ...] = ()
