"""Which methods are offered for which model, in which order, and how many rows each is given."""

from __future__ import annotations

import numpy as np

from probity.audits.attribution import ExplainedModel
from probity.audits.backgrounds import Background, Source
from probity.audits.explaining import methods
from tests.audits.networks import draw, outputs


class Answers:
    """Stands for a Keras model that computes a function of its inputs."""

    def __init__(self, names, function):
        self.input = names
        self._function = function

    def __call__(self, inputs, *, training):
        return self._function(inputs)


def offered(function, *, columns=3, joined=False, coded=False, allowed=1000, wanted=5, background=4):
    features = outputs(**{f"c{i}": 1 for i in range(columns)})
    model = ExplainedModel(
        outputs=features,
        columns=tuple(feature.source for feature in features),
        space="logit",
        whole=Answers([feature.name for feature in features], function),
        head=object() if joined else None,
        joined=(),
        coded=coded,
    )
    source = Source(model=model, split=lambda split: {}, table=lambda table: {}, max_evaluations=allowed)
    chosen = Background(
        inputs=draw(features, background, seed=1), again=draw(features, background, seed=2), origin="test", words=""
    )
    rows = draw(features, 20, seed=3)
    return list(methods(source, rows=rows, wanted=wanted, background=chosen, seed=4))


def linear(inputs):
    return sum(2.0 * values[:, 0] for values in inputs.values())


def bent(inputs):
    return np.prod([values[:, 0] for values in inputs.values()], axis=0)


def kinds(found):
    return [method.kind for method in found]


def test_exact_methods_come_first_and_sampling_is_always_there():
    assert kinds(offered(linear, joined=True)) == ["closed form", "enumeration", "deep", "sampling"]
    assert kinds(offered(bent, joined=True)) == ["enumeration", "deep", "sampling"]
    assert kinds(offered(bent)) == ["enumeration", "sampling"]
    assert kinds(offered(bent, allowed=0)) == ["sampling"]


def test_enumeration_is_offered_exactly_up_to_the_limit():
    """Five rows, four background rows, eight coalitions."""
    assert kinds(offered(bent, allowed=160))[0] == "enumeration"
    assert "enumeration" not in kinds(offered(bent, allowed=159))
    assert "enumeration" not in kinds(offered(bent, columns=17, allowed=10**9, wanted=1, background=1))


def test_each_method_is_given_the_rows_that_it_can_afford():
    found = {method.kind: method.max_rows for method in offered(linear, joined=True, allowed=1000)}
    assert found == {"closed form": None, "enumeration": 5, "deep": 1000 // 4, "sampling": 1000 // (4 * 4)}
    assert offered(bent, allowed=1)[-1].max_rows == 1


def test_codes_are_no_numbers():
    """The sum of two codes means nothing, so a form that is affine in them explains nothing."""
    assert kinds(offered(linear, coded=True)) == ["enumeration", "sampling"]
    assert any("no Keras file" in note for note in offered(linear, coded=True)[-1].notes)


def test_the_best_method_gives_the_closed_form():
    method = offered(linear)[0]
    features = outputs(c0=1, c1=1, c2=1)
    rows, background = draw(features, 3, seed=5), draw(features, 6, seed=6)
    found = method.attribute(rows, background)
    expected = [2.0 * (rows[f.name][:, 0] - background[f.name].mean()) for f in features]
    np.testing.assert_allclose(found.contributions, np.stack(expected, axis=1), atol=1e-5)
    assert found.additivity_error < 1e-5
