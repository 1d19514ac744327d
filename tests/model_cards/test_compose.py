"""The card says what the reports say, and says so where they say nothing."""

import math

import pytest

from probity.canaries import Canaries
from probity.card import CumulativeSpending, ModelCard, NotAssessed, Numbers, Statement
from probity.data import Transform, TransformConstant
from probity.digest import digest_bytes
from probity.findings import AuditReport, Estimate, Finding, PrivacyStatement, finding_id
from probity.model import DpSgd, Mitigation
from probity.model_cards.compose import compose
from probity.model_cards.publication import Publication
from probity.model_cards.render import to_markdown
from probity.owner import RiskAnswers


def part_of(card, name):
    return {
        "performance": card.overall,
        "fairness": card.disparities,
        "baseline": card.baseline,
        "mitigation": card.mitigation,
        "data": card.data.findings,
        "explanations": card.explanations,
        "privacy": card.privacy.findings,
    }[name]


NAMES = ("performance", "fairness", "baseline", "data", "explanations", "privacy")


def test_every_measured_number_repeats_its_finding(parts, reports):
    card = compose(**parts, reports=reports)
    found = {finding.id: finding for report in reports.values() for finding in report.findings}
    measured = [number for number in card.numbers() if number.status == "measured"]
    assert len(measured) > 200
    for number in measured:
        finding = found[number.finding]
        expected = finding.estimate.value
        if number.decimals is not None:
            expected = round(expected, number.decimals)
        assert number.value == expected
        assert number.n in (None, finding.estimate.n)
        assert (number.metric, number.slice, number.threshold) == (finding.metric, finding.slice, finding.threshold)
        assert number.confidence == finding.estimate.confidence


def test_no_finding_is_lost(parts, reports):
    """What is not published is withheld, visibly: every finding of every report is somewhere on the card."""
    card = compose(**parts, reports=reports)
    expected = [finding.id for report in reports.values() for finding in report.findings]
    assert sorted(number.finding for number in card.numbers()) == sorted(expected)


def test_the_card_names_its_evidence(parts, reports):
    card = compose(**parts, reports=reports)
    assert card.subject == reports["performance"].subject
    assert card.reports == {name: report.record_digest() for name, report in reports.items()}
    assert card.confidence == 0.95
    changed = {**reports, "baseline": reports["baseline"].model_copy(update={"reasons": ("another",)})}
    assert compose(**parts, reports=changed).reports["baseline"] != card.reports["baseline"]


def test_equal_arguments_give_an_equal_card(parts, reports):
    assert compose(**parts, reports=reports) == compose(**parts, reports=dict(reversed(reports.items())))


def test_json_round_trip(parts, reports):
    card = compose(**parts, reports=reports)
    assert ModelCard.from_json(card.to_json()) == card


def test_without_reports_every_part_is_a_gap(parts):
    card = compose(**parts, reports={})
    assert card.subject is None
    assert card.numbers() == ()
    for name in NAMES:
        assert isinstance(part_of(card, name), NotAssessed)
        assert f"no report of the audit {name}" in part_of(card, name).reason
    assert isinstance(card.privacy.statement, NotAssessed)
    assert isinstance(card.factors.proxies, NotAssessed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", ["failed", "not_applicable"])
def test_a_report_that_is_not_complete_is_a_gap_with_its_reason(parts, reports, name, status):
    broken = AuditReport(audit=name, status=status, subject=reports[name].subject, reasons=("the reason given",))
    card = compose(**parts, reports={**reports, name: broken})
    assert isinstance(part_of(card, name), NotAssessed)
    assert "the reason given" in part_of(card, name).reason
    if name == "privacy":
        assert isinstance(card.privacy.statement, NotAssessed)
    assert card.reports[name] == broken.record_digest()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["model", "examples"])
def test_a_report_about_something_else_is_a_gap(parts, reports, name, field):
    """A number about another model or other rows must not stand on this card."""
    other = reports[name].subject.model_copy(update={field: digest_bytes(b"another")})
    foreign = reports[name].model_copy(update={"subject": other})
    kept = {key: report for key, report in reports.items() if key != name}
    card = compose(**parts, reports={**kept, name: foreign})
    if name == "performance" and field == "examples":
        # The card speaks of the rows that its performance was measured on: then all other reports are foreign.
        assert isinstance(card.overall, Numbers)
        assert isinstance(card.disparities, NotAssessed)
    else:
        assert isinstance(part_of(card, name), NotAssessed)
        assert "speaks of" in part_of(card, name).reason


def test_what_the_owner_did_not_say_is_not_assessed(parts, reports):
    card = compose(**parts, reports=reports)
    assert card.intended_use == Statement(text=("Teaching, and comparing methods on a public data set.",))
    assert isinstance(card.limitations, Statement)
    for gap in (card.out_of_scope, card.trade_offs, card.ethical_considerations, card.details.contact):
        assert isinstance(gap, NotAssessed)
    assert "card.out_of_scope" in card.out_of_scope.reason


def test_questions_on_risk_are_open_until_something_is_said(parts, reports, make_config):
    asked = list(RiskAnswers.model_fields)
    assert list(compose(**parts, reports=reports).open_risks()) == asked
    config = make_config(card={"risks": {**dict.fromkeys(asked, "a word"), "legal": "  "}})
    card = compose(**{**parts, "config": config}, reports=reports)
    assert card.open_risks() == ("legal",)
    assert list(card.model_copy(update={"risks": ()}).open_risks()) == asked


def test_an_empty_statement_is_a_gap(parts, reports, make_config):
    config = make_config(card={"intended_use": "  ", "limitations": []})
    card = compose(**{**parts, "config": config}, reports=reports)
    assert isinstance(card.intended_use, NotAssessed)
    assert isinstance(card.limitations, NotAssessed)


def test_infinite_epsilon_is_stated(parts, reports):
    card = compose(**parts, reports=reports)
    assert isinstance(card.privacy.statement, PrivacyStatement)
    assert card.privacy.statement.epsilon == math.inf
    assert [number.value for number in card.privacy.findings.numbers if number.metric == "epsilon"] == [math.inf]
    assert isinstance(card.privacy.cumulative, NotAssessed)
    assert isinstance(card.privacy.attacks, NotAssessed)


def attacks(reports):
    found = []
    for name, attack, value in (
        ("membership_auc", None, 0.61),
        ("membership_auc", "random_forest", 0.61),
        ("audited_epsilon_lower_bound", None, 0.4),
        ("exposure", None, 1.9),
    ):
        found.append(
            Finding(
                id=finding_id("attacks", name, attack=attack),
                metric=name,
                attack=attack,
                estimate=Estimate(value=value, lower=value, upper=math.inf, confidence=0.95, method="m", n=500),
                direction="lower_is_better",
            )
        )
    subject = reports["privacy"].subject
    return AuditReport(audit="attacks", status="complete", subject=subject, reasons=("in words",), findings=found)


def test_the_attacks_are_told_with_what_was_planted_for_them(parts, reports):
    planted = Canaries(rows=400, rows_planted=209, gradients=1000, gradients_planted=503)
    card = compose(**parts, reports={**reports, "attacks": attacks(reports)}, canaries=planted)
    assert card.privacy.canaries == planted
    assert [number.attack for number in card.privacy.attacks.numbers] == [None, "random_forest", None, None]
    text = to_markdown(Publication(card=card))
    for words in (
        "How well could an attacker do",
        "209 of 400",
        "| random forest | 0.610",
        "in words",
        "| largest | 0.400",
    ):
        assert words in text


def test_what_all_models_spent_together_stands_beside_this_ones_epsilon(parts, reports):
    spent = CumulativeSpending(
        epsilon=3.7,
        delta=1e-5,
        unit="row",
        mechanisms=4,
        non_private=2,
        open_reservations=1,
        ledger=digest_bytes(b"last"),
    )
    card = compose(**parts, reports=reports, cumulative=spent)
    assert ModelCard.from_json(card.to_json()).privacy.cumulative == spent
    text = to_markdown(Publication(card=card))
    assert "3.700 per row at delta 1e-05" in text
    assert "leaves them out" in text


@pytest.mark.parametrize("change", [{"status": "failed", "reasons": ("contradicts itself",)}, {"subject": None}])
def test_an_unusable_privacy_report_states_nothing(parts, reports, change):
    """A statement is not taken from a report that failed or that speaks of another model."""
    other = reports["privacy"].subject.model_copy(update={"model": digest_bytes(b"another")})
    change = {"subject": other} if "subject" in change else change
    unusable = reports["privacy"].model_copy(update=change)
    assert unusable.privacy_statement is not None
    card = compose(**parts, reports={**reports, "privacy": unusable})
    assert isinstance(card.privacy.statement, NotAssessed)


def test_the_trust_table_follows_mechanism_and_transform(parts, reports):
    plain = compose(**parts, reports=reports)
    (holder,) = [row for row in plain.privacy.trust if "model files" in row.party]
    assert "nothing bounds" in holder.sees
    assert "without noise" in holder.sees
    mechanism = DpSgd(
        noise_multiplier=1.0,
        noise_source="os_entropy",
        sampling="poisson",
        sampling_prob=0.01,
        steps=10,
        l2_clip_norm=1.0,
        expected_batch_size=100,
        normalization="expected_batch_size",
        unit="row",
        engine="book_keeping",
    )
    curated = TransformConstant(feature="age", kind="quantiles", source="schema")
    changed = {
        **parts,
        "model": parts["model"].model_copy(update={"mechanism": mechanism}),
        "transform": parts["transform"].model_copy(update={"constants": (curated,)}),
    }
    assert isinstance(changed["transform"], Transform)
    (holder,) = [row for row in compose(**changed, reports=reports).privacy.trust if "model files" in row.party]
    assert "privacy statement bounds" in holder.sees
    assert "curated schema" in holder.sees


def test_notes_of_the_fairness_audit_are_kept(parts, reports):
    card = compose(**parts, reports=reports)
    assert any("does not prove" in note for note in card.disparities.notes)


def test_the_card_module_is_a_noun():
    """It must load without a framework, so that the gate and the command line can read cards."""
    import subprocess
    import sys

    code = (
        "import sys, probity.card, probity.model_cards.compose, probity.model_cards.render\n"
        "print([m for m in ('tensorflow', 'shap', 'matplotlib', 'mlflow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def mitigated(parts, **changes):
    facts = {
        "method": "threshold_optimizer",
        "across": ("sex",),
        "constraint": "equal_opportunity",
        "fitted_on": "eval",
        "served_columns": ("sex",),
        "unmitigated": digest_bytes(b"before"),
        **changes,
    }
    settings = {"epochs": 8, "mitigation": {"method": facts["method"]}}
    model = parts["model"].model_copy(update={"mitigation": Mitigation(**facts), "settings": settings})
    return {**parts, "model": model}


def mitigation_report(model):
    def change(value, **where):
        estimate = Estimate(value=value, lower=value - 0.01, upper=value + 0.01, confidence=0.95, method="m", n=1000)
        name = finding_id("mitigation", "selection_rate", comparison="change", threshold=0.5,
                          slice_=where.get("slice"), across=where.get("across", ()))  # fmt: skip
        return Finding(id=name, metric="selection_rate", comparison="change", threshold=0.5, estimate=estimate,
                       direction="neither", neutral=0.0, **where)  # fmt: skip

    return AuditReport(
        audit="mitigation",
        status="complete",
        subject={"model": model.digest, "examples": digest_bytes(b"examples")},
        reasons=("Worse than without mitigation, by more than its interval: accuracy of sex=Male at 0.5.",),
        findings=(change(-0.03), change(0.08, slice={"sex": "Female"}), change(-0.11, across=("sex",))),
    )


def test_the_card_says_which_mitigation_there_was_and_what_it_changed(parts, small_reports):
    changed = mitigated(parts)
    reports = {**small_reports, "mitigation": mitigation_report(changed["model"])}
    text = to_markdown(Publication(card=compose(**changed, reports=reports)))
    assert "- Mitigation:\n  - threshold optimizer across sex, for equal opportunity" in text
    assert "the served model asks for sex" in text
    assert "| selection rate change at 0.5 | \N{MINUS SIGN}0.030" in text
    assert "| selection rate gap, change at 0.5, sex | \N{MINUS SIGN}0.110" in text
    assert "selection rate change at 0.5, sex = Female | 0.080" in text
    assert "Worse than without mitigation" in text
    assert "mitigation: {" not in text  # it has a line of its own


def test_a_column_that_the_decision_depends_on_is_not_called_audited_only(parts, small_reports):
    served = compose(**mitigated(parts), reports=small_reports)
    assert served.data.audited_only == ("race",)
    assert "| sex | Female, Male | sex | yes: the decision depends on it" in to_markdown(Publication(card=served))
    [host] = [row for row in served.privacy.trust if "serving host" in row.party]
    assert "sex of every person" in host.sees
    weighed = compose(**mitigated(parts, method="reweighing", served_columns=()), reports=small_reports)
    assert weighed.data.audited_only == ("sex", "race")
    [trainer] = [row for row in weighed.privacy.trust if row.party == "the trainer"]
    assert "the groups of sex in these rows" in trainer.sees
