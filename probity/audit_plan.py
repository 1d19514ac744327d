"""What is measured of a model: thresholds, groups, confidence, and how many rows are looked at closely."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from probity.record import Record

__all__ = ["AuditsConfig", "CanariesConfig"]


class CanariesConfig(Record):
    """Canaries to plant in the training, each by a fair coin, so that what the model kept of them can be measured."""

    count: int = Field(default=0, ge=0, le=1_000_000)
    """Row canaries: rows drawn from the schema, with a random label. Half of them take part in training."""
    gradients: int = Field(default=0, ge=0, le=1_000_000)
    """Gradient canaries, for trainers that clip and add noise: rows that push in a direction of their own, and the
    model in no other. Half of them take part in training. About 10,000 show most mistakes of an implementation."""

    @field_validator("count", "gradients")
    @classmethod
    def _none_or_enough(cls, number: int) -> int:
        if 0 < number < 100:
            raise ValueError("0, or at least 100: fewer canaries cannot show anything")
        return number


class AuditsConfig(Record):
    """What is measured on the test split, and by attacks on the model."""

    decision_threshold: float = Field(default=0.5, ge=0.0, lt=1.0)
    """A row is predicted positive when its score is greater than this."""
    thresholds: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Further thresholds at which every rate is reported per group."""
    min_group_size: int = Field(default=100, ge=2)
    """Groups with fewer test rows give no verdict, and their numbers are left out of the public card."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Confidence level of every interval."""
    explained_rows: int | None = Field(default=None, ge=10)
    """Number of test rows explained with Shapley values; absent: all that the method can afford in about half a minute,
    which is all of them for a model whose explanation has a closed form."""
    background_rows: int = Field(default=200, ge=10)
    """Number of rows that explanations are relative to. They are training rows; for a private model they are drawn from
    the public schema, or are test rows."""
    inspected_rows: int = Field(default=1000, ge=50, le=5000)
    """Number of test rows that are asked about one by one: flips, nearest counterfactuals, partial dependence."""
    attacked_rows: int = Field(default=20_000, ge=200)
    """Largest number of rows that membership inference is tried on, about half of them from the training split."""
    canaries: CanariesConfig | None = None
    """Canaries to plant; absent: none."""
    shadow_models: int = Field(default=0, ge=0, le=1000)
    """Trainings like the model's on halves of the data, for the likelihood-ratio attack: the strongest one, and as slow
    as so many trainings. 0: it is not run. At least 8; 64 or more are usual in the literature."""
    edge_cases: str | None = Field(default=None, min_length=1, exclude_if=lambda path: path is None)
    """CSV or Parquet file, relative to the config file, of rows that were chosen by hand: the feature columns, the
    label column with the outcome that must come out, and if you like ``why``. The trained model is asked about each;
    absent: there is no such audit."""

    @model_validator(mode="after")
    def _thresholds_are_probabilities(self) -> AuditsConfig:
        if any(not 0.0 <= value < 1.0 for value in self.thresholds):
            raise ValueError("thresholds must be in [0, 1)")
        return self

    @model_validator(mode="after")
    def _enough_shadow_models(self) -> AuditsConfig:
        if 0 < self.shadow_models < 8:
            raise ValueError("shadow_models must be 0 or at least 8: a mean over fewer models says little")
        return self

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """Every threshold to report, the decision threshold included, ascending."""
        return tuple(sorted({*self.thresholds, self.decision_threshold}))
