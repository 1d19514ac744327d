"""Adult as model inputs, and requests to the real worker, for tests that start its processes."""

from pathlib import Path

import numpy as np
import pandas as pd

from probity.data import TransformedFeature
from probity.recipe import ModelConfig
from probity.trainers.architecture import build
from probity.trainers.encrypted.messages import write_files
from probity.trainers.encrypted.parts import plan
from probity.trainers.encrypted.settings import EncryptedSettings
from probity.trainers.encrypted.stack import stack_of
from probity.trainers.encrypted.twin import train_twin
from probity.trainers.worker_environments import environment_of
from probity.trainers.worker_exchange import Exchange

DATA = Path(__file__).parents[3] / "examples" / "adult_income" / "adult.csv.gz"
NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")


def inputs(rows=None):
    """Numbers scaled to unit variance and clipped, texts one-hot; returns inputs by name and labels, both float32."""
    table = pd.read_csv(DATA, nrows=rows, keep_default_na=False)
    arrays = {}
    for name in table.columns.drop(["income", "fnlwgt", "education"]):
        if name in NUMBERS:
            scaled = (table[name] - table[name].mean()) / table[name].std()
            arrays[name] = scaled.clip(-3, 3).to_numpy(np.float32)[:, None]
        else:
            arrays[name] = pd.get_dummies(table[name]).to_numpy(np.float32)
    return arrays, (table["income"] == ">50K").to_numpy(np.float32)


class Training:
    """One request to the worker, with all that is needed to check the answer."""

    def __init__(self, arrays, labels, folder, *, seed=7, hidden=(), **settings):
        import tensorflow as tf

        tf.keras.utils.set_random_seed(seed)
        self.settings, self.folder, self.labels, self.seed = EncryptedSettings(**settings), folder, labels, seed
        outputs = tuple(TransformedFeature(name=n, source=n, width=a.shape[1]) for n, a in arrays.items())
        config = ModelConfig(kind="mlp", hidden=hidden) if hidden else ModelConfig(kind="logistic")
        self.stack = stack_of(build(config, outputs, root=folder), protocol=self.settings.protocol)
        self.joined = np.concatenate([arrays[name] for name in self.stack.inputs], axis=1)
        self.plan = plan(self.settings, outputs, self.stack.inputs, rows=len(labels), seed=seed)
        worker = "spu" if self.settings.engine == "spu" else "encrypted"
        self.exchange = Exchange(environment=environment_of(worker), folder=folder)

    def ask(self, *, checkpoints=None, deadline_seconds=500.0, on_progress=lambda line: None, **changes):
        self.folder.mkdir(parents=True, exist_ok=True)
        body = write_files(
            self.folder, self.settings, self.plan, self.stack,
            joined=self.joined, labels=self.labels, probe=self.joined[:64], root=self.folder.parent,
        )  # fmt: skip
        return self.exchange.ask(
            {**body, **changes}, seed=self.seed, deadline_seconds=deadline_seconds, checkpoints=checkpoints,
            on_progress=on_progress,
        )  # fmt: skip

    def weights(self, result):
        return self.exchange.weights(result, shapes=[array.shape for array in self.stack.weights()])

    def twin(self):
        return train_twin(
            self.stack, self.plan, self.joined, self.labels, learning_rate=self.settings.learning_rate
        ).weights


def scores(weights, rows):
    found = rows.astype(np.float64)
    for i in range(0, len(weights), 2):
        found = found @ weights[i] + weights[i + 1]
        if i + 2 < len(weights):
            found = np.maximum(found, 0.0)
    return 1 / (1 + np.exp(-found[:, 0]))
