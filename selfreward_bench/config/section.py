"""What every section is made of: its base class, the types of settings, and how text is sampled."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
LIST = BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)
Names = Annotated[tuple[str, ...], LIST]
Day = Annotated[
    str,
    BeforeValidator(lambda given: given.isoformat() if type(given) is datetime.date else given),  # as YAML reads it
    AfterValidator(lambda given: datetime.date.fromisoformat(given).isoformat()),
]
Spec = Annotated[str, Field(min_length=1, max_length=1000)]
Judge = Annotated[Spec, BeforeValidator(lambda given: "self" if given == "current" else given)]


class Section(BaseModel):
    """Base of all sections: unknown keys refused, values immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    later: ClassVar[frozenset[str]] = frozenset()  # settings that were added when runs were there already

    def recorded(self) -> dict[str, Any]:
        """What stages and trainings keep of these settings: without later ones at their defaults, so that what was
        made before these were there is still what it was."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.later and value == field.default:
                del values[name]
            elif isinstance(value, Section):
                values[name] = value.recorded()
        return values


class Sampling(Section):
    """How text is sampled."""

    temperature: NotNegative = Field(0.7, description="Sampling temperature; 0 is greedy.")
    top_p: Fraction = Field(0.9, description="Nucleus sampling: the likeliest tokens of this total probability.")
    max_new_tokens: PositiveInt = Field(512, description="Most tokens of one text; a longer one is truncated.")
