"""The shortest real training on secret shares, one process for all parties: part of the default suite.

Everything else about the real worker is marked ``workers``; CI prepares the environment before it runs the suite.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from adult import Training, inputs

from probity.trainers.worker_environments import environment_of

READY = environment_of("encrypted").why_not_ready()


@pytest.mark.skipif(READY is not None, reason=f"worker encrypted: {READY}; run: probity workers sync encrypted")
def test_shares_give_the_weights_of_the_clear_training(tmp_path):
    arrays, labels = inputs(1024)
    training = Training(arrays, labels, tmp_path / "worker", epochs=2, batch_size=256, learning_rate=0.5)
    result = training.ask()
    trained, plain = training.weights(result), training.twin()
    assert max(np.abs(a - b).max() for a, b in zip(trained, plain, strict=True)) < 0.02
    assert np.abs(trained[0]).max() > 0.05
    assert result.body["steps"] == 8
