"""Federated averaging on Adult, against the same network trained on all rows in one place."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from requests_of_clients import body, write_folder
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from probity.digest import digest_file
from probity.trainers.worker import run_worker
from probity.trainers.worker_environments import environment_of

pytestmark = pytest.mark.workers

ADULT = Path(__file__).parents[3] / "examples" / "adult_income" / "adult.csv.gz"
LEFT_OUT = ["income", "fnlwgt", "education", "sex", "race"]


@pytest.fixture(scope="module")
def adult():
    """Features, labels, country codes, and which rows are for training."""
    table = pd.read_csv(ADULT)
    label = table["income"].str.contains(">50K").to_numpy(np.float32)
    columns = table.drop(columns=LEFT_OUT)
    numbers = columns.select_dtypes("number")
    numbers = np.log1p(numbers)
    scaled = (numbers - numbers.mean()) / numbers.std()
    words = pd.get_dummies(columns.select_dtypes("object").drop(columns=["native_country"]))
    features = np.concatenate([scaled, words], axis=1).astype(np.float32)
    countries = pd.factorize(table["native_country"].fillna("?"))[0]
    return features, label, countries, np.random.default_rng(0).random(len(label)) < 0.8


@pytest.fixture(scope="module")
def plain_auc(adult):
    """Of a logistic model fitted to the end on all training rows: what averaging has to reach."""
    features, label, _, train = adult
    model = LogisticRegression(C=100, max_iter=2000).fit(features[train], label[train])
    return roc_auc_score(label[~train], model.decision_function(features[~train]))


def federated_auc(adult, parts, folder, **settings):
    """AUC on the rows left out, of a logistic model averaged over clients with these rows."""
    environment = environment_of("federated")
    environment.require_ready()
    features, label, _, train = adult
    clients = [(features[rows], label[rows]) for rows in parts]
    asked = body([len(rows) for rows in parts], width=features.shape[1], **settings)
    write_folder(folder, clients, asked, digest=digest_file)
    run_worker(environment.command(str(folder)), log=folder / "log.txt", deadline_seconds=400, watch=lambda: None)
    assert json.loads((folder / "result.json").read_text())["status"] == "ok"
    with np.load(folder / "weights.npz") as arrays:
        scores = features[~train] @ arrays["w0000"] + arrays["w0001"]
    return roc_auc_score(label[~train], scores[:, 0])


LOCAL = {"epochs": 1, "batch_size": 32, "learning_rate": 0.1, "optimizer": "sgd"}


def test_on_clients_that_are_alike_the_auc_is_the_plain_one(adult, plain_auc, tmp_path):
    rows = np.random.default_rng(1).permutation(np.flatnonzero(adult[3]))
    settings = {"rounds": 60, "clients_per_round": 20, "local": LOCAL}
    assert federated_auc(adult, np.array_split(rows, 100), tmp_path / "w", **settings) > plain_auc - 0.01


def test_on_clients_by_country_the_auc_is_near_the_plain_one(adult, plain_auc, tmp_path):
    _, _, countries, train = adult
    parts = [np.flatnonzero(train & (countries == number)) for number in range(countries.max() + 1)]
    settings = {"rounds": 25, "clients_per_round": len(parts), "local": LOCAL}
    assert federated_auc(adult, parts, tmp_path / "w", **settings) > plain_auc - 0.02
