"""Messages that people are needed: what they say, where they go, and that no secret and no failure escapes."""

from __future__ import annotations

import pytest

from probity.errors import ConfigError
from probity.platform.release.webhook import announce, ask_for_review, message
from probity.release_policy import Approval

POLICY = Approval(required="always", quorum=2, webhook_variable="TEST_WEBHOOK", card_link="https://cards/{run}.html")


@pytest.fixture
def folder(make_run):
    return make_run().folder


def test_the_message_has_slacks_form_and_names_run_model_quorum_and_card(folder):
    told = message(POLICY, folder, model_name="m")
    assert set(told) == {"text", "blocks"}
    assert told["blocks"] == [{"type": "section", "text": {"type": "mrkdwn", "text": told["text"]}}]
    for word in (folder.id, "Model m", "2 approval", f"https://cards/{folder.id}.html", "probity approve"):
        assert word in told["text"]


def test_it_is_posted_to_the_address_in_the_environment(folder, listener, monkeypatch):
    address, taken = listener
    monkeypatch.setenv("TEST_WEBHOOK", f"{address}/services/secret")
    assert ask_for_review(POLICY, folder, model_name="m")
    assert taken == [("/services/secret", "application/json", message(POLICY, folder, model_name="m"))]


def test_without_a_variable_nothing_is_sent(folder):
    assert not ask_for_review(Approval(required="always"), folder, model_name="m")


@pytest.mark.parametrize("address", [None, "", "secret", "file:///etc/passwd", "ftp://secret", "broken", "nobody"])
def test_an_address_that_does_not_work_is_one_message_without_the_address(folder, listener, monkeypatch, address):
    monkeypatch.delenv("TEST_WEBHOOK", raising=False)
    if address in ("broken", "nobody"):
        address = f"{listener[0]}/broken-secret" if address == "broken" else "http://127.0.0.1:1/secret"
    if address is not None:
        monkeypatch.setenv("TEST_WEBHOOK", address)
    with pytest.raises(ConfigError, match="TEST_WEBHOOK") as caught:
        ask_for_review(POLICY, folder, model_name="m")
    assert "secret" not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_an_announcement_says_why_it_did_not_arrive_and_raises_nothing(listener, monkeypatch):
    address, taken = listener
    assert announce(None, "nobody is to be told") is None
    problem = announce("TEST_WEBHOOK", "the variable is not set")
    assert problem is not None
    assert "TEST_WEBHOOK" in problem
    monkeypatch.setenv("TEST_WEBHOOK", f"{address}/secret")
    assert announce("TEST_WEBHOOK", "it burns") is None
    assert [body["text"] for _, _, body in taken] == ["it burns"]
    monkeypatch.setenv("TEST_WEBHOOK", f"{address}/broken-secret")
    problem = announce("TEST_WEBHOOK", "it burns")
    assert problem is not None
    assert "secret" not in problem
