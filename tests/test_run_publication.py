"""What is published of a run: the recorded bytes, the decision about them, and the waivers of its time."""

from types import SimpleNamespace

import pytest

from probity.card import ModelCard
from probity.decision import Check, GateDecision
from probity.digest import digest_bytes, digest_file
from probity.errors import DataError, DigestMismatchError
from probity.history import parse_time
from probity.keys import create_key, load_key
from probity.model_cards.publication import Waived
from probity.review import Reviewer, Reviewers, Waiver, seal_waiver
from probity.run_publication import publication_of, waived_in
from probity.storage import write_atomically

CARD = b'{"a": "card"}\n'


class Run(SimpleNamespace):
    """A run folder with a card, as far as publishing looks at it."""

    def provenance(self):
        return self.written

    def receipt(self, stage):
        return self.receipts.get(stage)

    def intact(self, receipt):
        return self.is_intact

    def status(self):
        return "held"

    def card(self):
        return self.the_card

    def decision(self):
        return self.the_decision

    def release(self):
        return None

    def pictures(self):
        return ()


def decision(verdict, card):
    outcome = "pass" if verdict == "release" else "fail"
    check = Check(
        rule="floor", outcome=outcome, required="auc >= 0.9", evidence=("performance/auc/overall",), reason="x"
    )
    model = digest_bytes(b"model")
    return GateDecision(verdict=verdict, model=model, policy=model, card=card, checks=(check,))


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "09_card" / "card.json"
    write_atomically(path, CARD)
    (tmp_path / "10_decision.json").write_text("{}")
    return Run(
        id="r", path=tmp_path, is_intact=True, written={},
        receipts={"card": SimpleNamespace(finished_at="2026-02-01T00:00:00+00:00")},
        the_card=ModelCard.model_construct(run="r"), the_decision=decision("hold", digest_file(path)),
    )  # fmt: skip


def test_a_publication_holds_the_recorded_bytes_and_the_decision(run):
    publication = publication_of(run)
    assert publication.recorded == CARD.decode()
    assert publication.decision.verdict == "hold"


def test_without_a_decision_there_is_none(run):
    (run.path / "10_decision.json").unlink()
    assert publication_of(run).decision is None


def test_a_rule_that_was_waived_when_the_card_was_made_stands_on_it_for_good(run, tmp_path):
    create_key(tmp_path / "lee.pem", kind="ed25519")
    signer = load_key(tmp_path / "lee.pem")
    people = Reviewers(reviewers=(Reviewer(name="lee", key=signer.public.pem, may_waive=True),))
    waivers = [
        Waiver(
            model_name="m",
            rule=rule,
            condition=digest_bytes(rule.encode()),
            owner="lee",
            reason="pilot",
            at="2026-01-01T00:00:00+00:00",
            until=until,
        )
        for rule, until in (("floor", "2026-03-01T00:00:00+00:00"), ("ended", "2026-01-15T00:00:00+00:00"))
    ]
    run.written = {"reviewers": people.to_json(), "waivers": [seal_waiver(waiver, signer) for waiver in waivers]}
    (waived,) = publication_of(run).waived
    assert waived == Waived(rule="floor", owner="lee", reason="pilot", expires="2026-03-01T00:00:00+00:00")
    assert waived_in(run, now=parse_time("2026-04-01")) == ()


def test_no_card_no_publication(run):
    run.receipts = {}
    with pytest.raises(DataError, match="no card"):
        publication_of(run)


@pytest.mark.parametrize("change", [{"is_intact": False}, {"the_decision": decision("hold", digest_bytes(b"other"))}])
def test_another_card_than_the_one_decided_about_is_not_published(run, change):
    with pytest.raises(DigestMismatchError, match="another card"):
        publication_of(Run(**{**vars(run), **change}))
