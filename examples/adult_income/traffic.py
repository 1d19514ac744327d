"""Sends rows of the census data to a served model, as if people asked: for trying a rollout or the monitoring.

Run it with: python examples/adult_income/traffic.py --url http://127.0.0.1:8511 --requests 3000

Each row has a tracking id, ``person-<row>``. ``--write-groups FILE`` writes the side table that joins these ids with
groups, and ``--write-feedback FILE`` what later turned out to be true for some of them; neither is ever sent.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pandas as pd

DATA = Path(__file__).parent / "adult.csv.gz"
NOT_SENT = ["income", "sex", "race", "fnlwgt", "education"]
"""The label, what is only audited, and what the config excludes."""


async def send(url: str, model: str, rows: pd.DataFrame, clients: int) -> Counter[str]:
    """Returns how many requests each version answered; failures under the status."""
    waiting, seen = list(rows.iterrows()), Counter[str]()

    async def client(session: aiohttp.ClientSession) -> None:
        while waiting:
            person, row = waiting.pop()
            instance = {name: "" if pd.isna(cell) else cell for name, cell in row.drop(NOT_SENT).items()}
            body = {"signature_name": "predict_columns", "instances": [instance]}
            headers = {"x-tracking-id": f"person-{person}"}
            async with session.post(f"{url}/v1/models/{model}:predict", json=body, headers=headers) as answer:
                await answer.read()
                version = answer.headers.get("x-model-version")  # only the router names it
                by = f"version {version}" if version else "the server"
                seen[by if answer.status == 200 else f"status {answer.status}"] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return seen


def main() -> None:
    """Reads the arguments and sends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8511")
    parser.add_argument("--model", default="adult_income")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write-groups", type=Path)
    parser.add_argument("--write-feedback", type=Path)
    arguments = parser.parse_args()
    data = pd.read_csv(DATA)
    ids = "person-" + data.index.astype(str)
    if arguments.write_groups:
        pd.DataFrame({"tracking_id": ids, "sex": data["sex"]}).to_parquet(arguments.write_groups)
    if arguments.write_feedback:
        pd.DataFrame({"tracking_id": ids, "label": data["income"]}).sample(frac=0.3, random_state=7).to_parquet(
            arguments.write_feedback
        )
    rows = data.sample(arguments.requests, random_state=arguments.seed)
    for answered_by, count in asyncio.run(send(arguments.url, arguments.model, rows, arguments.clients)).items():
        print(f"{count} requests answered by {answered_by}")  # noqa: T201 - what the script is for


if __name__ == "__main__":
    main()
