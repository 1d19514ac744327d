"""The transform graph as a function: what the trainers' own reading of it gives, in batches and without rows."""

import numpy as np
import pytest

from probity import transform_graph
from probity.tfexample import encode
from probity.trainers.testing_world import make_world, transformed
from probity.transform_graph import graph_function, transform_rows


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"), rows=60)


def test_rows_become_what_the_graph_makes_of_them(world, monkeypatch):
    monkeypatch.setattr(transform_graph, "_BATCH_ROWS", 7)
    raw = world.raw.select([column.name for column in world.transform.inputs])
    found = transform_rows(raw, graph=world.folder / "transform_fn", outputs=world.transform.outputs)
    expected = transformed(world.folder, world.raw)
    assert list(found) == [feature.name for feature in world.transform.outputs]
    for feature in world.transform.outputs:
        assert found[feature.name].dtype == np.float32
        assert found[feature.name].shape == (raw.num_rows, feature.width)
        np.testing.assert_array_equal(found[feature.name], expected[feature.name])


def test_no_rows_have_inputs_of_the_right_width(world):
    apply = graph_function(world.folder / "transform_fn", world.transform.outputs)
    found = apply([])
    assert {name: array.shape for name, array in found.items()} == {
        feature.name: (0, feature.width) for feature in world.transform.outputs
    }
    one = apply([encode(world.raw.slice(0, 1))])
    assert all(len(array) == 1 for array in one.values())
