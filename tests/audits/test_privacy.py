"""The privacy statement: what is claimed, on what conditions, what is left out, and when nothing is claimed at all."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest

from probity.audits import privacy
from probity.audits.accounting import epsilon_of
from probity.audits.privacy import BY_EPOCH, PrivacyAudit
from probity.canaries import Canaries
from probity.data import (
    Column,
    ColumnKind,
    FeatureSpec,
    PrivateStatistics,
    Role,
    Schema,
    Transform,
    TransformConstant,
)
from probity.digest import digest_bytes
from probity.findings import EpsilonByEpoch, Subject
from probity.model import Federated, Mitigation, NonPrivate
from probity.storage import read_record
from tests.audits.mechanisms import dp_fedavg, dp_ftrl, dp_sgd

DIGEST = digest_bytes(b"x")
FEATURES = tuple(Column(name=name, kind=ColumnKind.FLOAT, roles=(Role.FEATURE,)) for name in ("age", "hours", "rank"))


def evidence(
    mechanism, *, unit="row", n=29_249, constants=(), statistics=None, delta=None, canaries=None, schema=None, **facts
):
    transform = Transform(digest=DIGEST, inputs=(), outputs=(), constants=constants, private_statistics=statistics)
    others = {"chosen_on_eval": False, "uncovered": (), "mitigation": None, "epochs": None, "steps": None, **facts}
    model = SimpleNamespace(mechanism=mechanism, num_train_examples=n, num_train_units=n, target_delta=delta, **others)
    return SimpleNamespace(
        model=model,
        dataset=SimpleNamespace(privacy_unit=unit, features=FEATURES),
        transform=transform,
        subject=Subject(model=DIGEST, examples=DIGEST),
        canaries=canaries,
        schema=schema,
    )


def run(tmp_path, *args, **kwargs):
    return PrivacyAudit().run(evidence(*args, **kwargs), workdir=tmp_path)


def test_a_plain_model_states_infinity_and_what_read_the_data(tmp_path):
    constants = (
        TransformConstant(feature="age", kind="quantiles", source="training data"),
        TransformConstant(feature="sex", kind="vocabulary", source="schema"),
    )
    report = run(tmp_path, NonPrivate(), constants=constants)
    assert report.status == "complete"
    assert report.find("privacy/epsilon/overall").estimate.value == math.inf
    assert report.find("privacy/delta/overall").estimate.value == 1e-5
    assert report.to_json()["privacy_statement"]["epsilon"] == "Infinity"
    assert report.privacy_statement.uncovered_preprocessing == ("age",)
    assert "age" in report.privacy_statement.not_covered[0]
    assert "sex" not in report.privacy_statement.not_covered[0]


def test_a_private_model_states_everything_that_a_claim_needs(tmp_path):
    mechanism = dp_sgd(1.1, 0.01, 100)
    report = run(tmp_path, mechanism)
    statement = report.privacy_statement
    assert statement.epsilon == report.find("privacy/epsilon/overall").estimate.value
    assert statement.epsilon == epsilon_of([mechanism], delta=1e-5)
    assert statement.epsilon <= statement.second_epsilon
    assert statement.delta == 1e-5
    assert "add or remove" in statement.neighbouring_relation
    assert "poisson, probability 0.01 per step, 100 steps" in statement.sampling
    assert "PLD" in statement.accountant
    assert "0.4.3" in statement.accountant
    assert "one row is one person" in statement.assumptions
    assert any("single precision" in text for text in statement.assumptions)
    stated = float(re.search(r"\(([0-9.]+), 1e-05\)", statement.text).group(1))
    assert statement.epsilon <= stated < statement.epsilon * 1.001  # words never promise more than was proven
    assert not any("preprocessing" in text or "early stopping" in text for text in statement.not_covered)
    # The attack audit reads training rows, and the card prints what came of it.
    assert any("attacks" in text and "training rows" in text for text in statement.not_covered)


def test_what_had_been_spent_after_single_epochs_is_kept_beside_the_report(tmp_path):
    mechanism = dp_sgd(1.1, 0.01, 100)
    report = run(tmp_path, mechanism, epochs=10, steps=100)
    course = read_record(tmp_path / BY_EPOCH, EpsilonByEpoch)
    assert course.epochs == (2, 4, 6, 8, 10)
    assert course.epsilon[-1] == report.privacy_statement.epsilon
    assert course.epsilon[0] == epsilon_of([dp_sgd(1.1, 0.01, 20)], delta=1e-5)
    assert list(course.epsilon) == sorted(course.epsilon)


@pytest.mark.parametrize(
    ("mechanism", "facts"),
    [
        (NonPrivate(), {"epochs": 10, "steps": 100}),
        (dp_sgd(1.1, 0.01, 100), {"epochs": 4, "steps": 40}),  # steps are counted that were not executed
        (dp_sgd(1.1, 0.01, 100), {"epochs": None, "steps": None}),
    ],
)
def test_no_course_is_drawn_where_steps_do_not_say_how_far_it_had_come(tmp_path, mechanism, facts):
    assert run(tmp_path, mechanism, **facts).status == "complete"
    assert not (tmp_path / BY_EPOCH).exists()


def test_private_statistics_are_part_of_the_claim(tmp_path):
    statistics = PrivateStatistics(epsilon=0.5, delta=1e-7, unit="row", mechanisms=("quantiles of age, epsilon 0.5",))
    report = run(tmp_path, dp_sgd(1.1, 0.01, 100), statistics=statistics)
    statement = report.privacy_statement
    assert statement.epsilon == epsilon_of([dp_sgd(1.1, 0.01, 100), statistics], delta=1e-5)
    assert statement.epsilon > epsilon_of([dp_sgd(1.1, 0.01, 100)], delta=1e-5)
    assert any("quantiles of age" in text for text in statement.composed)


def test_the_asked_delta_is_the_stated_one(tmp_path):
    assert run(tmp_path, dp_sgd(1.1, 0.01, 100), delta=1e-6).privacy_statement.delta == 1e-6


def test_early_stopping_on_eval_rows_is_listed(tmp_path):
    report = run(tmp_path, dp_sgd(1.1, 0.01, 100), chosen_on_eval=True)
    assert any("early stopping" in text for text in report.privacy_statement.not_covered)


def test_what_a_mitigation_read_without_noise_is_listed_and_that_of_training_rows_for_the_gate(tmp_path):
    weights = "the weights of reweighing: counts of training rows by group and label"
    statement = run(tmp_path, dp_sgd(1.1, 0.01, 100), uncovered=(weights,)).privacy_statement
    assert statement.uncovered_training == (weights,)
    assert f"{weights}, without noise" in statement.not_covered
    assert statement.uncovered_preprocessing == ()
    rule = Mitigation(method="threshold_optimizer", across=("sex",), fitted_on="eval", unmitigated=DIGEST)
    statement = run(tmp_path, dp_sgd(1.1, 0.01, 100), mitigation=rule).privacy_statement
    assert any("threshold optimizer" in text and "eval split" in text for text in statement.not_covered)
    assert statement.uncovered_training == ()  # the claim is about training rows, and these were not read
    plain = run(tmp_path, dp_sgd(1.1, 0.01, 100)).privacy_statement
    assert (statement.epsilon, statement.delta) == (plain.epsilon, plain.delta)


def test_shuffled_batches_are_stated_as_what_they_are(tmp_path):
    mechanism = dp_sgd(4.0, 0.01, 200, sampling="shuffled", max_participations=2)
    statement = run(tmp_path, mechanism).privacy_statement
    assert "zero-out" in statement.neighbouring_relation
    assert "not Poisson" in statement.sampling
    assert statement.epsilon > 5 * epsilon_of([dp_sgd(4.0, 0.01, 200)], delta=1e-5)


def test_the_unit_is_printed(tmp_path):
    report = run(tmp_path, dp_sgd(1.0, 0.01, 10, unit="person", rows_per_unit=3), unit="person")
    assert "person" in report.privacy_statement.text
    assert "one row is one person" not in report.privacy_statement.assumptions
    assert any("at most 3 rows of one person" in text for text in report.privacy_statement.assumptions)


@pytest.mark.parametrize(
    ("mechanism", "changes", "word"),
    [
        (dp_sgd(1.0, 0.01, 10), {"unit": "person"}, "unit of privacy"),
        (dp_sgd(1.0, 0.01, 10, noise_source="fixed_seed"), {}, "fixed seed"),
        (dp_sgd(1.0, 0.01, 10, normalization="actual_batch_size"), {}, "happened to be drawn"),
        (dp_sgd(1.0, 0.01, 10), {"delta": 1 / 29_249}, "not below one over"),
        (dp_sgd(1.0, 0.01, 10), {"delta": 0.1}, "not below one over"),
    ],
)
def test_what_cannot_be_claimed_fails_without_a_number(tmp_path, mechanism, changes, word):
    report = run(tmp_path, mechanism, **changes)
    assert report.status == "failed"
    assert report.findings == ()
    assert report.privacy_statement is None
    assert word in report.reasons[0]


def test_accountants_that_contradict_each_other_give_no_number(tmp_path, monkeypatch):
    monkeypatch.setattr(privacy, "renyi_epsilon_of", lambda spent, *, delta: 0.01)
    report = run(tmp_path, dp_sgd(1.0, 0.01, 10))
    assert report.status == "failed"
    assert "contradict" in report.reasons[0]
    assert report.privacy_statement is None


def test_federation_alone_is_said_to_give_no_guarantee(tmp_path):
    mechanism = Federated(num_clients=100, clients_per_round=20, rounds=5, secure_aggregation="simulated")
    statement = run(tmp_path, mechanism).privacy_statement
    assert statement.epsilon == math.inf
    assert "federation alone gives no guarantee" in statement.text
    assert any("secure aggregation: simulated" in text for text in statement.assumptions)


def test_a_statement_about_clients_names_them(tmp_path):
    mechanism = dp_fedavg(1.0, 0.02, 100)
    report = run(tmp_path, mechanism, n=1000)
    statement = report.privacy_statement
    assert statement.unit == "client"
    assert statement.delta == 1e-4
    assert statement.epsilon == epsilon_of([mechanism], delta=1e-4)
    assert "one client, with all its rows," in statement.text
    assert "poisson, probability 0.02 per round, 100 rounds" in statement.sampling
    assert any("cryptographic generator" in text for text in statement.assumptions)
    assert any("the server saw each client's update" in text.lower() for text in statement.assumptions)


def test_trees_are_stated_without_amplification(tmp_path):
    statement = run(tmp_path, dp_ftrl(8.0), n=1000).privacy_statement
    assert "no amplification is credited" in statement.sampling
    assert "zero-out" in statement.neighbouring_relation


def test_clients_of_the_privacy_units_column_keep_its_name(tmp_path):
    statement = run(tmp_path, dp_fedavg(1.0, unit="hospital"), unit="hospital", n=1000).privacy_statement
    assert statement.unit == "hospital"
    assert run(tmp_path, dp_fedavg(1.0, unit="hospital"), n=1000).status == "failed"


def test_statistics_per_row_do_not_fit_a_claim_per_client(tmp_path):
    spent = PrivateStatistics(epsilon=0.1, delta=0.0, unit="row", mechanisms=("bounds of age",))
    assert run(tmp_path, dp_fedavg(1.0), n=1000, statistics=spent).status == "failed"


@pytest.mark.parametrize(("curated", "reviewed", "uncovered"), [(True, True, 0), (True, False, 1), (False, True, 1)])
def test_row_canaries_from_bounds_that_nobody_made_public_are_not_covered(tmp_path, curated, reviewed, uncovered):
    """They are rows of the training: without the person who is the oldest, all of them would be other ones."""
    age = FeatureSpec(name="age", kind=ColumnKind.FLOAT, required=False, minimum=17, maximum=93, reviewed=reviewed)
    hours = FeatureSpec(name="hours", kind=ColumnKind.FLOAT, required=False)
    schema = Schema(digest=DIGEST, curated=curated, features=(age, hours))
    planted = Canaries(rows=200, rows_planted=100, empty_columns=("hours", "rank"))
    statement = run(tmp_path, dp_sgd(1.1, 0.01, 100), canaries=planted, schema=schema).privacy_statement
    assert len(statement.uncovered_training) == uncovered
    assert all("age" in text and "hours" not in text for text in statement.uncovered_training)
    assert sum("canaries" in text for text in statement.not_covered) == uncovered
