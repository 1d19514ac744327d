"""The attacks audit: what every audit must do, what it finds, and when it must not speak."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from probity.audit_plan import AuditsConfig
from probity.audits import attacks, one_run, self_check
from probity.audits.attack_sample import draw_sample
from probity.audits.attacks import AttacksAudit
from probity.audits.testing import AuditContract, draw_rows, make_evidence
from probity.canaries import GRADIENT_SCORES, LABELS, ROWS, Canaries, Coins, write_arrays
from probity.errors import AuditError
from probity.tfexample import write_table


class TestContract(AuditContract):
    def make_audit(self):
        return AttacksAudit()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return make_evidence(tmp_path_factory.mktemp("evidence"), rows=240)


@pytest.fixture(scope="module")
def unfitted(evidence, tmp_path_factory):
    """The report on a model that was not fitted at all, and the names of its files."""
    return run(evidence, tmp_path_factory.mktemp("unfitted"))


@pytest.fixture(scope="module")
def attacked():
    """The attacks on a sample, by its rows: what canaries or another dataset say beside it does not change them."""
    return {}


@pytest.fixture
def attacks_once(attacked, monkeypatch):
    """Attacks each sample once, for tests that look at something else. The contract's tests run everything anew."""
    original = attacks.run_attacks

    def run_attacks(sample, *, seed):
        key = (sample.scores.tobytes(), sample.labels.tobytes(), sample.members.tobytes(), seed)
        if key not in attacked:
            attacked[key] = original(sample, seed=seed)
        return attacked[key]

    monkeypatch.setattr(attacks, "run_attacks", run_attacks)


def planted(evidence, folder, *, rows=0, gradients=0, leak=0.0):
    """The evidence with canaries: what is seen of an included gradient is ``leak`` standard deviations more."""
    coins = Coins.flip(rows=rows, gradients=gradients, seed=5)
    coins.write(folder)
    draw = np.random.default_rng(8)
    if rows:
        write_table(folder / ROWS, draw_rows(rows, seed=11).select(["age", "hours"]))
        write_arrays(folder / LABELS, labels=draw.random(rows) < 0.5)
    if gradients:
        scores = draw.normal(size=gradients) + leak * coins.gradients
        write_arrays(evidence.model_folder / GRADIENT_SCORES, scores=scores)
    record = Canaries(
        rows=rows,
        rows_planted=int(coins.rows.sum()),
        gradients=gradients,
        gradients_planted=int(coins.gradients.sum()),
    )
    model = evidence.model.model_copy(update={"target_delta": 1e-5})
    return replace(evidence, model=model, canaries=record, canaries_folder=folder)


def run(evidence, tmp_path):
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    return AttacksAudit().run(evidence, workdir=workdir), {path.name for path in workdir.iterdir()}


def value(report, name):
    return report.find(f"attacks/{name}").estimate.value


def test_a_model_that_was_not_fitted_at_all_gives_nothing_away(unfitted):
    report, files = unfitted
    auc = report.find("attacks/membership_auc/overall").estimate
    assert auc.lower < 0.5
    assert value(report, "audited_epsilon_lower_bound/overall") == 0.0
    assert files == {"membership_roc.svg"}
    assert {finding.slice.get("sex") for finding in report.findings} >= {"Female", "Male", "(missing)"}
    assert {"label", "prediction"} <= {name for finding in report.findings for name in finding.slice}
    assert any("guessing" in reason for reason in report.reasons)


def test_groups_without_enough_rows_give_no_verdict(unfitted):
    report, _ = unfitted
    rare = report.find("attacks/membership_auc/race=Rare")
    assert rare.evidence == "insufficient"
    assert "fewer than" in rare.reason


@pytest.mark.heavy
def test_planted_rows_and_gradients_are_reported_together_at_one_confidence(evidence, tmp_path):
    folder = tmp_path / "canaries"
    folder.mkdir()
    report, files = run(planted(evidence, folder, rows=200, gradients=2000, leak=2.0), tmp_path)
    by_source = [
        value(report, f"audited_epsilon_lower_bound/{source}/overall")
        for source in ("split_rows", "planted_rows", "planted_gradients")
    ]
    assert by_source[:2] == [0.0, 0.0]
    assert by_source[2] > 1.0
    assert value(report, "audited_epsilon_lower_bound/overall") == by_source[2]
    # The same gradients alone show more: the error is shared among what is looked at.
    coins = Coins.read(folder)
    scores = np.load(evidence.model_folder / GRADIENT_SCORES)["scores"]
    alone = one_run.lower_bound(scores, coins.gradients, delta=1e-5, confidence=0.95, seed=evidence.seed)
    assert alone.epsilon > by_source[2]
    assert files == {"membership_roc.svg", "exposure.svg"}
    assert 1.0 < value(report, "exposure/overall") < 2.0


def test_an_estimator_that_fails_its_own_check_prints_no_number(evidence, tmp_path, monkeypatch):
    wrong = self_check.SelfCheck(
        estimator="audited_epsilon_lower_bound",
        false_alarms=1.0,
        nominal=0.05,
        above_truth=0.0,
        power=1.0,
        problems=("it finds something in 60 of 60 experiments in which there is nothing",),
    )
    monkeypatch.setattr(self_check, "check_one_run", lambda **_: wrong)
    report, files = run(evidence, tmp_path)
    assert report.status == "failed"
    assert not report.findings
    assert "60 of 60" in report.reasons[0]
    assert not files


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: write_arrays(path, scores=np.full(2000, np.nan)),
        lambda path: write_arrays(path, scores=np.zeros(3)),
    ],
)
def test_planted_gradients_that_cannot_be_found_again_give_no_bound(evidence, tmp_path, damage):
    folder = tmp_path / "canaries"
    folder.mkdir()
    given = planted(evidence, folder, gradients=2000)
    damage(given.model_folder / GRADIENT_SCORES)
    try:
        report, _ = run(given, tmp_path)
        said = report.reasons[0]
        assert report.status == "failed"
    except AuditError as error:  # which the pipeline turns into a failed report
        said = str(error)
    assert "planted gradients" in said or GRADIENT_SCORES in said


@pytest.mark.usefixtures("attacks_once")
def test_a_handful_of_canaries_is_said_to_be_too_few(evidence, tmp_path):
    folder = tmp_path / "canaries"
    folder.mkdir()
    report, _ = run(planted(evidence, folder, rows=20), tmp_path)
    assert any("at least 100" in reason for reason in report.reasons)
    assert report.find("attacks/exposure/overall") is None


@pytest.mark.usefixtures("attacks_once")
def test_canaries_that_are_none_are_said_to_be_none(evidence, tmp_path):
    report, _ = run(replace(evidence, canaries=Canaries(), canaries_folder=tmp_path), tmp_path)
    assert report.status == "complete"
    told = [reason for reason in report.reasons if "none were asked for" in reason]
    assert [reason.partition(":")[0] for reason in told] == ["planted rows", "planted gradients"]


def test_too_few_held_out_rows_are_not_attacked(tmp_path):
    few = make_evidence(tmp_path / "few" if (tmp_path / "few").mkdir() is None else tmp_path, rows=30)
    report, _ = run(few, tmp_path)
    assert report.status == "not_applicable"
    assert "occur only once" in report.reasons[0]


@pytest.mark.usefixtures("attacks_once")
def test_given_splits_are_attacked_and_prove_nothing(evidence, tmp_path):
    """Rows of another year can be told from those that were trained on without any leak."""
    given = replace(evidence, dataset=evidence.dataset.model_copy(update={"split_at_random": False}))
    report, _ = run(given, tmp_path)
    assert report.status == "complete"
    assert report.find("attacks/membership_auc/overall") is not None
    assert report.find("attacks/audited_epsilon_lower_bound/overall") is None
    assert any("by more than chance" in reason for reason in report.reasons)


def test_a_model_that_cannot_score_its_training_rows_is_not_passed_over(evidence, tmp_path, monkeypatch):
    from probity.audits import attack_sample

    def broken(*arguments, **named):
        raise AuditError("scored rows", seen="3 scores that are not finite numbers", allowed="a", remedy="b")

    monkeypatch.setattr(attack_sample, "score", broken)
    with pytest.raises(AuditError, match="not finite"):
        run(evidence, tmp_path)


@pytest.mark.heavy
def test_the_sample_is_of_rows_that_occur_once_and_its_members_are_fair_coins(tmp_path):
    table = draw_rows(500, seed=3)
    doubled = pa.concat_tables([table, table.slice(0, 100)])
    evidence = make_evidence(_new(tmp_path / "evidence"), table=doubled)
    dataset = evidence.dataset.model_copy(update={"split_shares": {"train": 4, "eval": 1, "test": 10}})
    evidence = replace(evidence, dataset=dataset)
    numbers = []
    for seed in range(60):
        sample = draw_sample(replace(evidence, seed=seed))
        numbers.append((int(sample.members.sum()), int((~sample.members).sum())))
    inside, outside = np.transpose(numbers)
    # All training rows that occur once, and each of about 400 such other rows with probability 4/10.
    assert len(set(inside)) == 1
    assert 190 <= inside[0] <= 200
    assert abs(outside.mean() - 160) < 6
    assert 6 < outside.std() < 14
    small = draw_sample(replace(evidence, settings=AuditsConfig(attacked_rows=200)))
    assert len(small.members) == 200
    with pytest.raises(AuditError, match="occur only once"):
        draw_sample(make_evidence(_new(tmp_path / "repeated"), table=pa.concat_tables([table.slice(0, 60)] * 5)))


def _new(folder):
    folder.mkdir()
    return folder
