"""What served models cost, by a table that the user gives, and a budget that is never exceeded knowingly.

srbench ships no prices: they change, and a wrong one is worse than none. Stored answers cost nothing.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from selfreward_bench import recipes
from selfreward_bench.errors import ConfigError, did_you_mean
from selfreward_bench.storage.files import os_errors
from selfreward_bench.types import Record

__all__ = ["Budget", "Price", "PriceTable", "Reservation", "Usage", "load_prices"]

FORMAT: Final = "A price table is YAML or JSON, prices per million tokens: " + (
    "`currency: USD` and `models: {NAME: {prompt: 0.15, completion: 0.60}}`, NAME as in openai:NAME@URL."
)
_MAX_BYTES: Final = 2**20
_PER: Final = 1e6

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call or of many."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


class Price(Record):
    """Of one model, per million tokens, in the table's currency."""

    prompt: Amount
    completion: Amount


class PriceTable(Record):
    """Prices by the model's name, as in ``openai:NAME@URL``."""

    currency: str = Field(default="USD", min_length=1, max_length=12)
    models: dict[str, Price] = Field(default_factory=dict)

    def cost(self, model: str, usage: Usage) -> float | None:
        """In the table's currency; None where the model has no price.

        >>> table = PriceTable(models={"m": Price(prompt=1.0, completion=4.0)})
        >>> table.cost("m", Usage(prompt_tokens=1_000_000, completion_tokens=500_000))
        3.0
        """
        price = self.models.get(model)
        if price is None:
            return None
        return (usage.prompt_tokens * price.prompt + usage.completion_tokens * price.completion) / _PER


def load_prices(path: Path) -> PriceTable:
    """Reads a price table.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    with os_errors(path, "read", ConfigError), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} has more than {_MAX_BYTES:,} bytes and is no price table. {FORMAT}")
    try:
        found = recipes.parse(content.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is neither YAML nor JSON ({error}). {FORMAT}") from error
    except ConfigError as error:
        raise ConfigError(f"{error} {FORMAT}") from error
    if found.problems or not found.values:  # a model that is there twice has which price?
        raise ConfigError(f"{found.problems[0] if found.problems else f'{path} holds nothing'}. {FORMAT}")
    try:
        return PriceTable.model_validate(found.values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field_name = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigError(f"{path}: {field_name}: {first['msg']}. {FORMAT}") from error


@dataclass(frozen=True, slots=True)
class Reservation:
    """The most that one call can cost."""

    model: str
    cost: float


@dataclass
class Budget:
    """What may be spent, over all engines that share it; safe for threads.

    Before each call its worst case is reserved, afterwards the real usage is booked. What a server may have billed
    without telling (an answer that broke off) is booked at its worst case, as ``uncertain``.

    Attributes:
        prices: may lack models where ``max_cost`` is None; their calls count 0.
        max_cost: in the table's currency; None is no limit.
        spent: what the servers' own counts come to.
        uncertain: what may have been billed besides.
        unpriced: models without a price that servers counted tokens of, or may have.
    """

    prices: PriceTable = field(default_factory=PriceTable)
    max_cost: float | None = None
    spent: float = field(default=0.0, init=False)
    uncertain: float = field(default=0.0, init=False)
    unpriced: set[str] = field(default_factory=set, init=False)
    _reserved: float = field(default=0.0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_cost is not None and not (math.isfinite(self.max_cost) and self.max_cost >= 0):
            raise ConfigError(f"A budget of {self.max_cost} is no amount; give a number of 0 or more.")

    def check(self, model: str) -> None:
        """Refuses a model that could spend without limit.

        Raises:
            ConfigError: there is a limit, and no price for this model.
        """
        if self.max_cost is not None and model not in self.prices.models:
            raise ConfigError(
                f"The cost is limited to {self.max_cost:g} {self.prices.currency}, but there is no price for "
                f"{model!r}, so it cannot be kept.{did_you_mean(model, self.prices.models)} Add the model to the "
                f"price table (0 for a server of your own), or leave the limit out. {FORMAT}"
            )

    def reserve(self, model: str, worst: Usage) -> Reservation | None:
        """Sets the worst case aside; None when it would exceed the budget with what others have set aside now."""
        cost = self.prices.cost(model, worst) or 0.0
        with self._lock:
            if self.max_cost is not None and self._booked + self._reserved + cost > self.max_cost:
                return None
            self._reserved += cost
        return Reservation(model, cost)

    def is_spent(self, model: str, worst: Usage) -> bool:
        """Whether a call could not be paid for even if all calls in flight turned out to cost nothing."""
        cost = self.prices.cost(model, worst) or 0.0
        with self._lock:
            return self.max_cost is not None and self._booked + cost > self.max_cost

    def settle(self, reservation: Reservation, usage: Usage | None) -> float:
        """Books a call.

        Args:
            usage: as the server counted; ``Usage()`` when it billed nothing; None when nobody knows.

        Returns:
            What was booked.
        """
        cost = reservation.cost if usage is None else self.prices.cost(reservation.model, usage) or 0.0
        with self._lock:
            self._reserved = max(0.0, self._reserved - reservation.cost)
            if reservation.model not in self.prices.models and usage != Usage():
                self.unpriced.add(reservation.model)
            if usage is None:
                self.uncertain += cost
            else:
                self.spent += cost
        return cost

    @property
    def _booked(self) -> float:
        return self.spent + self.uncertain
