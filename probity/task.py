"""The kinds of question that a model answers: one term for each, in config, data set, trainers and audits."""

from __future__ import annotations

from typing import Literal

__all__ = ["TASKS", "Task"]

Task = Literal["binary", "multiclass", "regression"]
"""``binary``: positive or not. ``multiclass``: one of several classes. ``regression``: a number."""

TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
