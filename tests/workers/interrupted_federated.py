"""A federated training as a process of its own, to be killed and run again.

Arguments: folders for the made-up data, this attempt and the checkpoints. Prints each round as it is reported; the last
line is the digest of the trained weights.
"""

import sys
from dataclasses import replace
from pathlib import Path

from probity.federated.settings import FederatedSettings
from probity.federated.trainer import FederatedTrainer
from probity.trainers.testing_world import agreed, make_request, make_world

ROUNDS = 25
SETTINGS = {"clients": {"number": 6}, "rounds": ROUNDS, "clients_per_round": 4, "availability": 0.8}


def main(folder, attempt, checkpoints):
    trainer, settings = FederatedTrainer(), FederatedSettings.from_json(SETTINGS)
    world = make_world(folder)
    request = make_request(world, settings, mechanism=agreed(trainer, settings, world))
    for path in (attempt, checkpoints):
        path.mkdir(exist_ok=True)
    record = trainer.train(
        replace(request, checkpoints=checkpoints),
        workdir=attempt,
        report=lambda fraction, text: say(text),
    )
    say(record.weights)


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    world_folder, attempt_folder, checkpoints_folder = map(Path, sys.argv[1:])
    world_folder.mkdir()
    main(world_folder, attempt_folder, checkpoints_folder)
