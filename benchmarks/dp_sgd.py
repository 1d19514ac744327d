"""DP-SGD steps side by side: book-keeping with noise, non-private Keras, TensorFlow Privacy, Opacus and JAX.

    make bench-dp      # or: python benchmarks/dp_sgd.py [--rounds 5] [--batches 64,256,1024]

Every engine executes whole steps - gather a batch, clipped sum, noise where it has some, update - on the same model,
all in one process, taking turns; the table gives medians and ratios to a compiled Keras step without privacy. The
number of threads is left to each framework. Keras, TensorFlow Privacy and book-keeping (through the project's own
step) get the inputs by name, as a pipeline gives them; Opacus and JAX get one matrix. A peer that needs more than the
time limit at a batch size is not run at larger ones. Peak memory is that of a process that runs one engine alone,
above what it needed before.

Writes benchmarks/dp_sgd.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402 - after the setting that TensorFlow reads when it is loaded

ROWS = 8192
WIDTHS = (13, 16, 10, 8, 8, 17, 17, 9, 8, 42, 7, 6, 139)
"""Widths of the inputs of the Adult network, 300 in all."""
CLIP, NOISE, RATE = 1.0, 1.0, 0.1
LIMIT_SECONDS = 4.0
OURS = "book_keeping, with noise"
PLAIN = "Keras, no privacy"
TASKS = ("mlp", "cnn", "embedding")
Step = Callable[[np.ndarray], object]


def rows_of(task: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns inputs by name and labels."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, ROWS).astype(np.float32)
    if task == "mlp":
        return {f"f{i}": draw.random((ROWS, width), dtype=np.float32) for i, width in enumerate(WIDTHS)}, labels
    if task == "cnn":
        return {"x": draw.random((ROWS, 784), dtype=np.float32)}, labels
    return {"x": draw.integers(0, 1000, (ROWS, 32)).astype(np.float32)}, labels


def keras_model(task: str, widths: dict[str, int]):
    """Builds the network of a task over inputs by name."""
    import tensorflow as tf

    layers = tf.keras.layers
    inputs = {name: layers.Input((width,), name=name) for name, width in widths.items()}
    tensor = layers.Concatenate()(list(inputs.values())) if len(inputs) > 1 else next(iter(inputs.values()))
    if task == "mlp":
        tensor = layers.Dense(128, "relu")(layers.Dense(128, "relu")(tensor))
    elif task == "cnn":
        tensor = layers.MaxPool2D()(layers.Conv2D(16, 3, activation="relu")(layers.Reshape((28, 28, 1))(tensor)))
        tensor = layers.Flatten()(layers.MaxPool2D()(layers.Conv2D(32, 3, activation="relu")(tensor)))
    else:
        tensor = layers.Dense(64, "relu")(layers.GlobalAveragePooling1D()(layers.Embedding(1000, 64)(tensor)))
    return inputs, layers.Activation("sigmoid")(layers.Dense(1)(tensor))


def ours(task: str, batch: int) -> Step:
    """The project's own step."""
    import tensorflow as tf

    from probity.model import DpSgd
    from probity.trainers.dp_sgd import book_keeping
    from probity.trainers.dp_sgd.keystream import KeyStream
    from probity.trainers.dp_sgd.noise import GaussianNoise
    from probity.trainers.dp_sgd.steps import Steps

    inputs, labels = rows_of(task)
    model = tf.keras.Model(*keras_model(task, {name: array.shape[1] for name, array in inputs.items()}))
    mechanism = DpSgd(
        noise_multiplier=NOISE,
        noise_source="os_entropy",
        sampling="poisson",
        sampling_prob=batch / ROWS,
        steps=1,
        l2_clip_norm=CLIP,
        expected_batch_size=batch,
        normalization="expected_batch_size",
        unit="row",
        engine="book_keeping",
    )
    steps = Steps(
        model,
        book_keeping.clipped_sum(model, l2_clip_norm=CLIP),
        optimizer=tf.keras.optimizers.SGD(RATE),
        mechanism=mechanism,
        inputs=inputs,
        labels=labels,
        physical_batch_size=ROWS,
    )
    noise, count = GaussianNoise(steps.size, stream=KeyStream("noise")), iter(range(10**9))
    return lambda chosen: steps.execute(chosen, noise=noise.draw(next(count)))


def keras(task: str, batch: int) -> Step:
    """A compiled Keras step without clipping and noise."""
    import tensorflow as tf

    inputs, labels = rows_of(task)
    model = tf.keras.Model(*keras_model(task, {name: array.shape[1] for name, array in inputs.items()}))
    optimizer = tf.keras.optimizers.SGD(RATE)
    optimizer.build(model.trainable_variables)
    columns, truth = {name: tf.constant(array) for name, array in inputs.items()}, tf.constant(labels)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(chosen):
        with tf.GradientTape() as tape:
            scores = model({name: tf.gather(column, chosen) for name, column in columns.items()}, training=True)
            loss = tf.reduce_mean(tf.keras.losses.binary_crossentropy(tf.gather(truth, chosen)[:, None], scores))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    return lambda chosen: step(tf.constant(chosen))


def compiled(model, inputs: dict[str, np.ndarray], labels: np.ndarray) -> Step:
    """Returns a model's own training step, compiled together with gathering the batch, as for the other engines."""
    import tensorflow as tf

    columns, truth = {name: tf.constant(array) for name, array in inputs.items()}, tf.constant(labels[:, None])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def step(chosen):
        return model.train_step(
            ({name: tf.gather(column, chosen) for name, column in columns.items()}, tf.gather(truth, chosen))
        )

    return lambda chosen: step(tf.constant(chosen))


def tfp_model(task: str, batch: int, *, fast: bool) -> Step:
    """TensorFlow Privacy's DPModel: fast gradient clipping, or vectorized."""
    import tensorflow as tf
    from tensorflow_privacy.privacy.fast_gradient_clipping import layer_registry
    from tensorflow_privacy.privacy.keras_models.dp_keras_model import make_dp_model_class

    inputs, labels = rows_of(task)
    kind = make_dp_model_class(tf.keras.Model)
    wired, output = keras_model(task, {name: array.shape[1] for name, array in inputs.items()})
    registry = layer_registry.make_default_layer_registry() if fast else None
    model = kind(CLIP, NOISE, None, False, registry, inputs=wired, outputs=output)
    if fast and not model._enable_fast_peg_computation:
        raise LookupError("its fast clipping does not know a layer of this model and would fall back")
    model.compile(tf.keras.optimizers.SGD(RATE), loss=tf.keras.losses.BinaryCrossentropy())
    return compiled(model, inputs, labels)


def tfp_optimizer(task: str, batch: int, *, vectorized: bool) -> Step:
    """TensorFlow Privacy's optimisers, one row per microbatch."""
    import tensorflow as tf
    from tensorflow_privacy.privacy.optimizers import dp_optimizer_keras, dp_optimizer_keras_vectorized

    inputs, labels = rows_of(task)
    model = tf.keras.Model(*keras_model(task, {name: array.shape[1] for name, array in inputs.items()}))
    kind = (
        dp_optimizer_keras_vectorized.VectorizedDPKerasSGDOptimizer
        if vectorized
        else dp_optimizer_keras.DPKerasSGDOptimizer
    )
    optimizer = kind(l2_norm_clip=CLIP, noise_multiplier=NOISE, num_microbatches=batch, learning_rate=RATE)
    loss = tf.keras.losses.BinaryCrossentropy(reduction=tf.losses.Reduction.NONE)
    model.compile(optimizer, loss=loss)
    return compiled(model, inputs, labels)


def torch_model(task: str):
    """The same networks in PyTorch."""
    from torch import nn

    class Mean(nn.Module):
        def forward(self, tensor):
            return tensor.mean(1)

    class Ids(nn.Module):
        def forward(self, tensor):
            return tensor.long()

    if task == "mlp":
        return nn.Sequential(nn.Linear(300, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    if task == "cnn":
        pooled = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *pooled, nn.Flatten(), nn.Linear(800, 1))
    return nn.Sequential(Ids(), nn.Embedding(1000, 64), Mean(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def opacus(task: str, batch: int, *, mode: str | None) -> Step:
    """Opacus with hooks or ghost clipping, or, for ``None``, PyTorch without privacy."""
    import torch
    from torch import nn

    inputs, labels = rows_of(task)
    matrix = torch.from_numpy(np.concatenate(list(inputs.values()), axis=1))
    truth = torch.from_numpy(labels[:, None])
    model, criterion = torch_model(task), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    if mode is not None:
        from opacus import PrivacyEngine

        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(matrix, truth), batch_size=batch)
        made = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            poisson_sampling=False,
            grad_sample_mode=mode,
            **({"criterion": criterion} if mode == "ghost" else {}),
        )
        model, optimizer = made[0], made[1]
        criterion = made[2] if mode == "ghost" else criterion

    def step(chosen: np.ndarray) -> None:
        index = torch.from_numpy(chosen)
        optimizer.zero_grad()
        criterion(model(matrix[index]), truth[index]).backward()
        optimizer.step()

    return step


def jax_step(task: str, batch: int, *, private: bool) -> Step:
    """JAX: vmap of the gradient, jit; or a plain jitted step."""
    import jax
    import jax.numpy as jnp

    inputs, labels = rows_of(task)
    matrix, truth = jnp.asarray(np.concatenate(list(inputs.values()), axis=1)), jnp.asarray(labels)
    keys = jax.random.split(jax.random.PRNGKey(0), 8)

    def dense(key, a, b):
        return jax.random.normal(key, (a, b)) / a**0.5, jnp.zeros(b)

    if task == "mlp":
        weights = [dense(keys[0], 300, 128), dense(keys[1], 128, 128), dense(keys[2], 128, 1)]
    elif task == "cnn":
        weights = [
            (jax.random.normal(keys[0], (3, 3, 1, 16)) / 3, jnp.zeros(16)),
            (jax.random.normal(keys[1], (3, 3, 16, 32)) / 12, jnp.zeros(32)),
            dense(keys[2], 800, 1),
        ]
    else:
        weights = [jax.random.normal(keys[0], (1000, 64)), dense(keys[1], 64, 64), dense(keys[2], 64, 1)]

    def convolved(images, kernel, bias):
        found = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        window = ((1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jax.lax.reduce_window(jax.nn.relu(found + bias), -jnp.inf, jax.lax.max, *window)

    def logits(weights, x):
        if task == "cnn":
            x = convolved(convolved(x.reshape(-1, 28, 28, 1), *weights[0]), *weights[1]).reshape(x.shape[0], -1)
            rest = weights[2:]
        elif task == "embedding":
            x, rest = weights[0][x.astype(int)].mean(1), weights[1:]
        else:
            rest = weights
        for kernel, bias in rest[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        return (x @ rest[-1][0] + rest[-1][1])[:, 0]

    def loss(weights, x, y):
        found = logits(weights, x)
        return jnp.mean(jnp.maximum(found, 0) - found * y + jnp.log1p(jnp.exp(-jnp.abs(found))))

    @jax.jit
    def private_step(weights, key, chosen):
        x, y = matrix[chosen], truth[chosen]
        gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(weights, x[:, None], y[:, None])
        leaves, tree = jax.tree_util.tree_flatten(gradients)
        norms = jnp.sqrt(sum((leaf.reshape(len(leaf), -1) ** 2).sum(1) for leaf in leaves))
        factors = jnp.minimum(1.0, CLIP / norms)
        noises = jax.random.split(key, len(leaves))
        summed = [
            jnp.tensordot(factors, leaf, 1) + NOISE * CLIP * jax.random.normal(k, leaf.shape[1:])
            for leaf, k in zip(leaves, noises, strict=True)
        ]
        mean = jax.tree_util.tree_unflatten(tree, [part / len(chosen) for part in summed])
        return jax.tree_util.tree_map(lambda a, b: a - RATE * b, weights, mean)

    @jax.jit
    def plain_step(weights, key, chosen):
        found = jax.grad(loss)(weights, matrix[chosen], truth[chosen])
        return jax.tree_util.tree_map(lambda a, b: a - RATE * b, weights, found)

    state = {"weights": weights, "count": 0}

    def step(chosen: np.ndarray) -> None:
        state["count"] += 1
        key = jax.random.PRNGKey(state["count"])
        state["weights"] = (private_step if private else plain_step)(state["weights"], key, jnp.asarray(chosen))
        jax.block_until_ready(state["weights"])

    return step


ENGINES: dict[str, Callable[[str, int], Step]] = {
    PLAIN: keras,
    OURS: ours,
    "TF Privacy DPModel, fast clipping": lambda task, batch: tfp_model(task, batch, fast=True),
    "TF Privacy DPModel, vectorized": lambda task, batch: tfp_model(task, batch, fast=False),
    "TF Privacy VectorizedDPKerasSGD": lambda task, batch: tfp_optimizer(task, batch, vectorized=True),
    "TF Privacy DPKerasSGD": lambda task, batch: tfp_optimizer(task, batch, vectorized=False),
    "PyTorch, no privacy": lambda task, batch: opacus(task, batch, mode=None),
    "Opacus, hooks": lambda task, batch: opacus(task, batch, mode="hooks"),
    "Opacus, ghost": lambda task, batch: opacus(task, batch, mode="ghost"),
    "JAX, no privacy": lambda task, batch: jax_step(task, batch, private=False),
    "JAX, vmap and jit": lambda task, batch: jax_step(task, batch, private=True),
}


def measure(task: str, batch: int, rounds: int, dead: set[str]) -> dict[str, float | str]:
    """Returns seconds per step by engine, or why there are none."""
    draw = np.random.default_rng(1)
    steps: dict[str, Step] = {}
    found: dict[str, float | str] = {}
    for name, make in ENGINES.items():
        if name in dead:
            found[name] = "not run: too slow"
            continue
        try:
            step = make(task, batch)
            step(draw.permutation(ROWS)[:batch])  # compiles
            began = time.perf_counter()
            step(draw.permutation(ROWS)[:batch])
            if time.perf_counter() - began > LIMIT_SECONDS:
                found[name] = time.perf_counter() - began
                dead.add(name)
                continue
            steps[name] = step
        except Exception as error:  # whatever a peer cannot do is a line of the table
            found[name] = f"not possible ({error if isinstance(error, LookupError) else type(error).__name__})"
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        chosen = draw.permutation(ROWS)[:batch]
        for name, step in steps.items():
            began = time.perf_counter()
            step(chosen)
            times[name].append(time.perf_counter() - began)
    return {**found, **{name: statistics.median(values) for name, values in times.items()}}


def peak_memory(task: str, name: str) -> float:
    """Returns how much a process's peak memory grew by its steps at batch 1024, in MiB."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", f"{task}|{name}"], capture_output=True, text=True, check=True
    )
    return float(done.stdout.strip().splitlines()[-1])


def print_memory(task: str, name: str) -> None:
    """Runs one engine alone and prints by how much its peak memory grew."""
    import tensorflow as tf

    rows_of(task)
    tf.function(lambda a: a @ a)(tf.ones([256, 256]))  # what TensorFlow takes for its first compiled function
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step, draw = ENGINES[name](task, 1024), np.random.default_rng(1)
    for _ in range(3):
        step(draw.permutation(ROWS)[:1024])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def page(results: dict[tuple[str, int], dict[str, float | str]], memory: dict[tuple[str, str], float]) -> str:
    """Returns the table."""
    lines = [
        "# DP-SGD steps",
        "",
        "Written by `make bench-dp`: medians of interleaved steps in one process, in milliseconds, and ratios to the",
        "compiled Keras step without privacy (PyTorch's and JAX's own plain steps stand beside them). Clip norm 1, "
        "noise",
        f"multiplier 1; {ROWS:,} rows. {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; load",
        f"average at the end {os.getloadavg()[0]:.1f}. Only ratios carry over to other machines.",
        "",
    ]
    titles = {
        "mlp": "Adult network: 13 inputs, 300 columns, Dense 128 and 128",
        "cnn": "Convolutions: 28x28x1, 16 and 32 channels of 3x3, pooled",
        "embedding": "Embedding: 32 ids of 1,000, 64 wide, averaged, Dense 64",
    }
    for task in dict.fromkeys(task for task, _ in results):
        batches = [batch for name, batch in results if name == task]
        lines += [f"## {titles[task]}", "", f"| engine | {' | '.join(f'batch {batch}' for batch in batches)} |"]
        lines.append(f"|---|{'---|' * len(batches)}")
        for name in ENGINES:
            cells = []
            for batch in batches:
                value, plain = results[task, batch].get(name), results[task, batch].get(PLAIN)
                if isinstance(value, float) and isinstance(plain, float):
                    cells.append(f"{value * 1e3:.2f} ms, {value / plain:.2f}x")
                else:
                    cells.append(str(value))
            bold = "**" if name == OURS else ""
            lines.append(f"| {bold}{name}{bold} | {' | '.join(cells)} |")
        lines.append("")
    if memory:
        lines += ["## Peak memory of model, data and steps at batch 1024", ""]
        lines += ["| task | Keras, no privacy | book_keeping, with noise | ratio |", "|---|---|---|---|"]
        for task in dict.fromkeys(task for task, _ in memory):
            plain, private = memory[task, PLAIN], memory[task, OURS]
            lines.append(f"| {task} | {plain:.0f} MiB | {private:.0f} MiB | {private / max(plain, 1e-9):.2f} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="64,256,1024")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_memory(*arguments.memory_of.split("|"))
        return
    results: dict[tuple[str, int], dict[str, float | str]] = {}
    for task in arguments.tasks.split(","):
        dead: set[str] = set()
        for batch in map(int, arguments.batches.split(",")):
            results[task, batch] = measure(task, batch, arguments.rounds, dead)
            print(task, batch, results[task, batch], flush=True)
    memory = {(task, name): peak_memory(task, name) for task in arguments.tasks.split(",") for name in (PLAIN, OURS)}
    Path(__file__).with_suffix(".md").write_text(page(results, memory), encoding="utf-8")


if __name__ == "__main__":
    main()
