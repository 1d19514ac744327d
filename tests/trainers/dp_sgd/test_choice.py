"""Which engine is used, and what is said when it is not the first, or none."""

from types import SimpleNamespace

import pytest

from probity.errors import ConfigError
from probity.trainers.dp_sgd import choice
from probity.trainers.dp_sgd.choice import choose
from probity.trainers.dp_sgd.engine import Refusal

MIXING = Refusal(layer="norm", reason="mixes the rows of a batch", remedy="use LayerNormalization")
UNKNOWN = Refusal(layer="rnn", reason="has no rule", remedy="set trainer.engine to tensorflow_privacy")


@pytest.fixture
def engines(monkeypatch):
    answers, asked = {}, []

    def module(name):
        engine = name.rsplit(".", 1)[1]

        def clipped_sum(model, *, l2_clip_norm):
            asked.append((engine, model, l2_clip_norm))
            return answers[engine]

        return SimpleNamespace(clipped_sum=clipped_sum)

    monkeypatch.setattr(choice.importlib, "import_module", module)
    return answers, asked


def test_auto_takes_the_first_and_asks_no_other(engines):
    answers, asked = engines
    answers["book_keeping"] = len
    chosen = choose("model", "auto", l2_clip_norm=0.5)
    assert (chosen.name, chosen.clipped_sum, chosen.warnings) == ("book_keeping", len, ())
    assert asked == [("book_keeping", "model", 0.5)]


def test_auto_goes_on_to_the_second_and_says_why(engines):
    answers, _ = engines
    answers.update(book_keeping=UNKNOWN, tensorflow_privacy=len)
    chosen = choose("model", "auto", l2_clip_norm=0.5)
    assert (chosen.name, chosen.clipped_sum) == ("tensorflow_privacy", len)
    (warning,) = chosen.warnings
    assert all(word in warning for word in ("tensorflow_privacy", "book_keeping", "rnn", "has no rule"))


@pytest.mark.parametrize("asked", ["book_keeping", "tensorflow_privacy"])
def test_an_engine_that_was_asked_for_is_not_replaced(engines, asked):
    answers, seen = engines
    answers.update(book_keeping=UNKNOWN, tensorflow_privacy=UNKNOWN)
    with pytest.raises(ConfigError, match=f"engine {asked}: layer rnn has no rule"):
        choose("model", asked, l2_clip_norm=1.0)
    assert [name for name, *_ in seen] == [asked]


def test_a_model_that_every_engine_refuses_is_a_config_error(engines):
    answers, _ = engines
    answers.update(book_keeping=MIXING, tensorflow_privacy=MIXING)
    with pytest.raises(ConfigError) as caught:
        choose("model", "auto", l2_clip_norm=1.0)
    assert caught.value.argument == "model"
    assert "book_keeping: layer norm mixes" in caught.value.seen
    assert "tensorflow_privacy: layer norm mixes" in caught.value.seen
    assert caught.value.remedy == "use LayerNormalization"
