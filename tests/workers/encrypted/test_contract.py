"""The suite of every trainer, around the real worker."""

import numpy as np
import pytest

from probity.predictor import SavedModelPredictor
from probity.trainers.encrypted.settings import EncryptedSettings
from probity.trainers.encrypted.trainer import EncryptedTrainer
from probity.trainers.testing import TrainerContract
from probity.trainers.testing_world import agreed, make_request
from probity.trainers.worker_environments import environment_of

pytestmark = [
    pytest.mark.workers,
    pytest.mark.skipif(
        environment_of("encrypted").why_not_ready() is not None, reason="run: probity workers sync encrypted"
    ),
]


class TestEncryptedTrainer(TrainerContract):
    @pytest.fixture(scope="class")
    def trainer(self):
        return EncryptedTrainer()

    @pytest.fixture(scope="class")
    def settings(self):
        return EncryptedSettings(epochs=2, batch_size=64, compare=False)

    def test_the_seed_decides_the_weights_and_the_test_split_does_not(
        self, trained, trainer, settings, world, tmp_path
    ):
        """Up to the rounding of fixed-point numbers: truncation on shares is randomised."""
        request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
        trainer.train(request, workdir=tmp_path, report=lambda fraction, text: None)
        mine, again = (
            SavedModelPredictor(folder / "saved_model").predict(world.raw) for folder in (trained.workdir, tmp_path)
        )
        assert np.abs(mine - again).max() < 0.002
