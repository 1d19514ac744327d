"""What every stored noun has in common: frozen values, a strict parser, one JSON form.

Infinity and "could not be computed" are values here. Infinity is written ``"Infinity"`` because JSON has no number
for it; NaN is refused everywhere, so that a number which could not be computed is ``null`` with a reason and never
slips through a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

from probity.digest import digest_json

__all__ = ["Digest", "Number", "Record", "Sensitive", "Slug", "refuse_repeats"]


class Sensitive:
    """Marks a field that must not leave the run folder: ``Annotated[int, Sensitive]``.

    A marked field may not be reachable from the model card, the tracker's payload, a log record or a worker's
    result; ``tests/architecture/test_sensitive_fields.py`` walks the types and says so.
    """


def _refuse_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("NaN is not a value; use null and give the reason")
    return value


def _spell_infinity(value: float) -> float | str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


Number = Annotated[
    float,
    Field(allow_inf_nan=True),
    AfterValidator(_refuse_nan),
    PlainSerializer(_spell_infinity, when_used="json"),
]
"""A real number or an infinity, never NaN. In JSON an infinity is the string ``"Infinity"``."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A content digest as :mod:`probity.digest` writes it."""

Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""A name that is safe as one path component on every file system: it cannot be ``..`` or hold a separator."""


class Record(BaseModel):
    """A frozen value, parsed strictly: unknown keys are refused, fields cannot be assigned."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # a plain float is finite; what may be infinite says so with Number
    )

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON value of this record; :meth:`from_json` gives an equal record back."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Parses a JSON value.

        Raises:
            pydantic.ValidationError: If a field is missing, unknown or of the wrong type.
        """
        return cls.model_validate(value)

    def record_digest(self) -> str:
        """Returns the digest of the JSON form."""
        return digest_json(self.to_json())


def refuse_repeats(what: str, names: Iterable[str]) -> None:
    """Raises :class:`ValueError`, for a validator, if a list of names holds one twice.

    Args:
        what: The field that lists them.
        names: Of columns, rules and the like; never data values.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} names {name!r} twice")
        seen.add(name)
