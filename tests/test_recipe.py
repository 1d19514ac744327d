"""Which architectures and trainers can be asked for."""

import pytest
from pydantic import ValidationError

from probity.recipe import TrainerConfig
from tests.configs import merged, refused


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (merged(model={}), "exactly one"),
        (merged(model={"kind": "mlp", "hidden": [4], "module": "m.py"}), "exactly one"),
        (merged(model={"kind": "mlp"}), "needs hidden"),
        (merged(model={"kind": "mlp", "hidden": [0]}), "at least one unit"),
        (merged(model={"kind": "logistic", "hidden": [4]}), "belong to kind mlp"),
        (merged(model={"kind": "mlp", "hidden": [4], "dropout": 1.0}), "less than 1"),
    ],
)  # fmt: skip
def test_what_is_no_architecture_is_refused(value, words):
    assert words in str(refused(value))


def test_settings_are_frozen_and_without_the_name():
    trainer = TrainerConfig.model_validate({"name": "plain", "epochs": 2})
    assert trainer.settings == {"epochs": 2}
    with pytest.raises(ValidationError):
        trainer.name = "other"
