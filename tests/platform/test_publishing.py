"""What leaves a run: every form of the recorded card, into a folder or to the Hub; of a held model, not to the Hub."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest

from probity.card import ModelCard
from probity.decision import Check, GateDecision
from probity.digest import digest_bytes
from probity.errors import ConfigError, DataError, ReleaseError, ReleaseHeldError
from probity.model_cards.publication import Publication
from probity.platform import publishing
from probity.platform.publishing import (
    SUMS,
    PublishedForm,
    forms_of,
    publish_to_folder,
    publish_to_hub,
)

CARD = b'{"a": "card"}\n'
FORMS = (
    PublishedForm(dialect="json", file="card.json", text="{}\n"),
    PublishedForm(dialect="huggingface", file="README.md", text="---\nlicense: mit\n---\n# A card\n"),
)


def decision(verdict, card):
    outcome = "pass" if verdict == "release" else "fail"
    check = Check(
        rule="floor", outcome=outcome, required="auc >= 0.9", evidence=("performance/auc/overall",), reason="x"
    )
    model = digest_bytes(b"model")
    return GateDecision(verdict=verdict, model=model, policy=model, card=card, checks=(check,))


def test_a_form_that_breaks_its_rules_is_a_fault(monkeypatch):
    broken = SimpleNamespace(
        name="odd", file="odd.json", write=lambda publication: "x", problems=lambda text: ["$: type"],
        may_be_incomplete=False,
    )  # fmt: skip
    monkeypatch.setattr(publishing, "dialects_for", lambda card: [broken])
    publication = Publication(card=ModelCard.model_construct(run="r"))
    with pytest.raises(DataError, match="odd"):
        forms_of(publication)
    broken.may_be_incomplete = True
    assert forms_of(publication)[0].incomplete == ("$: type",)


def test_a_folder_gets_every_form_and_the_list_of_digests(tmp_path):
    target = tmp_path / "published"
    publish_to_folder(FORMS, target)
    publish_to_folder(FORMS, target)  # an earlier publication is replaced
    assert sorted(path.name for path in target.iterdir()) == ["README.md", SUMS, "card.json"]
    for line in (target / SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((target / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_is_written_over_what_somebody_else_put_there(tmp_path, kind):
    target = tmp_path / "theirs"
    if kind == "folder":
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(ConfigError, match="other files"):
        publish_to_folder(FORMS, target)
    assert "card.json" not in {path.name for path in tmp_path.rglob("*")}


# -- the Hub ----------------------------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's interface as one commit of small files needs; it records what it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        if self.path.endswith("/create"):
            answer = {"url": f"{self.server.address}/o/n"}
        elif self.path.endswith("validate-yaml"):
            answer = {"errors": [], "warnings": []}
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        else:
            answer = {
                "success": True,
                "commitOid": "1" * 40,
                "commitUrl": f"{self.server.address}/o/n/commit/{'1' * 40}",
            }
        self.reply(self.server.status, answer)

    def reply(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.status = [], 200
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def released(verdict="release"):
    return Publication(
        card=ModelCard.model_construct(run="r"), decision=decision(verdict, digest_bytes(b"c")) if verdict else None
    )


def test_the_hub_gets_one_commit_with_every_form(hub):
    address = publish_to_hub(released(), FORMS, repository="o/n", private=True)
    assert address == f"{hub.address}/o/n/commit/{'1' * 40}"
    paths = [path for path, _, _ in hub.seen]
    assert [path for path in paths if "/commit/" in path] == ["/api/models/o/n/commit/main"]
    assert {authorization for _, authorization, _ in hub.seen} <= {"Bearer hf_secret", None}
    commit = next(body for path, _, body in hub.seen if "/commit/" in path)
    sent = [json.loads(line) for line in commit.splitlines()]
    assert sent[0]["value"]["summary"] == "Model card of run r"
    assert [entry["value"]["path"] for entry in sent[1:]] == ["card.json", "README.md"]
    assert any("validate-yaml" in path for path in paths)
    assert '"private"' in next(body for path, _, body in hub.seen if path.endswith("/create"))


def test_a_hub_that_refuses_is_an_error_without_the_token(hub):
    hub.status = 403
    with pytest.raises(ReleaseError, match="HTTP 403") as caught:
        publish_to_hub(released(), FORMS, repository="o/n", private=False)
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("verdict", ["hold", None])
def test_the_card_of_a_held_model_does_not_go_to_the_hub(hub, verdict):
    with pytest.raises(ReleaseHeldError):
        publish_to_hub(released(verdict), FORMS, repository="o/n", private=False)
    assert hub.seen == []


def test_without_a_token_nothing_is_asked(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        publish_to_hub(released(), FORMS, repository="o/n", private=False)
    assert hub.seen == []
