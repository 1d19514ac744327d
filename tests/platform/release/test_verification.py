"""The verifier finds every change: any byte of any file, any field of any statement, any line, any other place."""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import socket
import warnings
from datetime import timedelta
from pathlib import Path

import pytest

from probity.claims import CLAIMS, ApprovalClaim, ApprovalTerms
from probity.digest import digest_bytes
from probity.errors import SignatureError
from probity.keys import create_key, load_key
from probity.platform.release.keys import keys_in
from probity.platform.release.push import push
from probity.platform.release.verification import EXTRA, require_verified, verify
from probity.release_policy import SigningConfig, trusted_in_project
from probity.review import Review, seal_review
from probity.signing import seal
from tests.platform.release.candidates import NOON, Candidate, attest, decide, files_of, keys_at


class Released:
    """A pushed version and the key that signed it."""

    def __init__(self, root: Path, *, weights: bytes = b"weights", **changes):
        self.root, self.keys = root, keys_at(root)
        self.candidate = Candidate(root / "run", content=weights)
        values = {"base_path": root / "serving", "keys": self.keys, **changes}
        self.release = push(self.candidate.model, **self.candidate.push_arguments(**values))
        self.path = root / "serving" / "m" / str(self.release.version)

    def problems(self, path: Path | None = None, **options) -> list[str]:
        found = verify(path or self.path, trusted_keys=self.keys.trusted, **options)
        assert found.ok == (not found.problems)
        return [str(problem) for problem in found.problems]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A version that no test may change; those that do, copy it."""
    return Released(tmp_path_factory.mktemp("released"))


@pytest.fixture
def twin(released, tmp_path):
    """A copy of it, under its own number and name, to be tampered with."""
    target = tmp_path / "m" / released.path.name
    shutil.copytree(released.path, target)
    return target


def files_below(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


# --- what verifies ---------------------------------------------------------------------------------------------------


def test_what_was_released_verifies_anywhere_with_the_public_key_alone(released, twin, tmp_path):
    shutil.copy(released.keys.signer.path.with_suffix(".pub"), tmp_path / "release.pub")
    found = verify(twin, trusted_keys=keys_in([tmp_path / "release.pub"]))
    assert found.problems == ()
    assert found.release == released.release == require_verified(twin, trusted_keys=released.keys.trusted)
    assert [claim.kind for claim in found.claims] == ["dataset", "training", "audit", "card", "decision", "release"]


def test_it_asks_nobody_and_needs_no_file_outside_of_the_version(released, twin, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert released.problems(twin) == []


@pytest.mark.parametrize("kind", ["certificate", "x509CertificateChain"])
def test_a_signature_of_sigstores_is_refused_in_words_by_who_has_only_keys(released, twin, kind):
    path = twin / EXTRA / "model.sig"
    bundle = json.loads(path.read_bytes())
    bundle["verificationMaterial"] = {kind: {"rawBytes": ""}}
    path.write_text(json.dumps(bundle))
    (problem,) = [text for text in released.problems(twin) if "Sigstore" in text]
    assert problem.startswith(f"{EXTRA}/model.sig: signed by Sigstore")


def test_a_tokens_public_key_is_believed_without_the_token(tmp_path):
    public = create_key(tmp_path / "token.pem")
    signing = SigningConfig(key="pkcs11:token=a;object=m?module-path=/nowhere.so", public_key="token.pub")
    assert set(trusted_in_project(signing, root=tmp_path)) == {public.keyid}


def test_the_command_of_openssf_model_signing_agrees(released, twin):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from click.testing import CliRunner
        from model_signing._cli import main

        command = ["verify", "key", str(twin), "--signature", str(twin / EXTRA / "model.sig"), "--public_key"]
        command.append(str(released.keys.signer.path.with_suffix(".pub")))
        assert CliRunner().invoke(main, command).exit_code == 0
        (twin / "variables" / "variables.index").write_bytes(b"indey")
        assert CliRunner().invoke(main, command).exit_code != 0


# --- mutations: files ------------------------------------------------------------------------------------------------


def regions(size):
    """Places that cover a file: all of a small one, else every region of it and its ends."""
    return range(size) if size <= 64 else sorted({0, 1, size // 2, size - 2, size - 1, *range(0, size, size // 24)})


def flips(released, path, *, places):
    """Flips one bit at each of the places of every file, and yields file, place and whether the verifier names it."""
    for file in files_below(path):
        content = file.read_bytes()
        with file.open("r+b", buffering=0) as handle:
            for place in places(len(content)):
                handle.seek(place)
                handle.write(bytes([content[place] ^ 1 << (place % 8)]))
                yield file.name, place, any(file.name in problem for problem in released.problems(path))
                handle.seek(place)
                handle.write(content[place : place + 1])
    assert released.problems(path) == []


def test_no_change_of_a_byte_survives(released, twin):
    tried = list(flips(released, twin, places=regions))
    assert [(name, place) for name, place, named in tried if not named] == []
    assert len(tried) > 150


LARGE = 1 << 14
"""Bytes from which on a file is tried in many places, and not in all."""


def everywhere(size):
    """Every byte of a small file; of a large one a place in every 128 bytes, and both ends."""
    return range(size) if size <= LARGE else sorted({*range(0, size, 127), *range(64), *range(size - 64, size)})


@pytest.mark.heavy
@pytest.mark.timeout(1200)
def test_no_change_of_any_byte_survives(tmp_path):
    """Graph, weights, vocabulary, card, decision, signature and every statement, one bit of each byte in turn."""
    released = Released(tmp_path, weights=bytes(place % 251 for place in range(4 * LARGE)))
    tried = list(flips(released, released.path, places=everywhere))
    assert [(name, place) for name, place, named in tried if not named] == []
    sizes = {file.name: file.stat().st_size for file in files_below(released.path)}
    assert len(tried) >= sum(min(size, LARGE // 32) for size in sizes.values())
    assert sum(name == CLAIMS for name, _, _ in tried) == sizes[CLAIMS] > 5000


def test_no_file_goes_or_comes_or_grows_unnoticed(released, twin):
    for file in files_below(twin):
        content = file.read_bytes()
        file.unlink()
        assert any(file.name in problem for problem in released.problems(twin)), file
        for other in (content + b"\n", content[:-1], b"", content * 2):
            file.write_bytes(other)
            assert any(file.name in problem for problem in released.problems(twin)), file
        file.write_bytes(content)
        stray = file.with_name(f"{file.name}.more")
        stray.write_bytes(b"")
        assert any(stray.name in problem for problem in released.problems(twin))
        stray.unlink()
    assert released.problems(twin) == []


def test_a_link_in_place_of_a_file_is_named_even_if_it_leads_to_the_same_bytes(released, twin, tmp_path):
    file = twin / "saved_model.pb"
    shutil.move(file, tmp_path / "aside")
    file.symlink_to(tmp_path / "aside")
    assert any("saved_model.pb: a symbolic link" in problem for problem in released.problems(twin))


@pytest.mark.parametrize("name", ["absent", "file", "link", "empty"])
def test_what_is_no_version_is_one_problem(released, tmp_path, name):
    path = tmp_path / name
    if name == "file":
        path.write_text("")
    elif name == "link":
        path.symlink_to(released.path)
    elif name == "empty":
        path.mkdir()
    found = verify(path, trusted_keys=released.keys.trusted)
    assert not found.ok
    assert found.release is None
    with pytest.raises(SignatureError, match="probity verify"):
        require_verified(path, trusted_keys=released.keys.trusted)


# --- mutations: lines and fields -------------------------------------------------------------------------------------


def test_no_line_is_dropped_repeated_or_moved_unnoticed(released, twin):
    path = twin / EXTRA / CLAIMS
    lines = path.read_bytes().splitlines(keepends=True)
    other = [lines[:n] + lines[n + 1 :] for n in range(len(lines))]
    other += [lines[: n + 1] + lines[n:] for n in range(len(lines))]
    other += [[*lines[:n], lines[n + 1], lines[n], *lines[n + 2 :]] for n in range(len(lines) - 1)]
    other += [lines[::-1], [], [*lines, b"\n"]]
    for mutant in other:
        path.write_bytes(b"".join(mutant))
        assert any(CLAIMS in problem for problem in released.problems(twin)), len(mutant)


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, (*path, key))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from leaves(entry, (*path, number))
    else:
        yield path, value


def other_value(value):
    return {str: f"{value}x", int: 1 if value is False else 2, type(None): "x", float: 0.125}.get(type(value), 0)


def changed(value, path, leaf):
    twin = copy.deepcopy(value)
    target = twin
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = leaf
    return twin


def test_no_field_of_a_statement_is_changed_unnoticed(released, twin):
    """Neither by somebody without the key, nor - chain included - by somebody with another key."""
    path = twin / EXTRA / CLAIMS
    lines = path.read_bytes().splitlines()
    stranger = released.root / "stranger.pem"
    create_key(stranger)
    tried = 0
    for number, line in enumerate(lines):
        envelope = json.loads(line)
        payload = json.loads(base64.b64decode(envelope["payload"]))
        for place, value in leaves(payload):
            mutant = changed(payload, place, other_value(value))
            forged = copy.deepcopy(envelope)
            forged["payload"] = base64.b64encode(json.dumps(mutant).encode()).decode()
            for text in (json.dumps(forged).encode(), seal(mutant, load_key(stranger))):
                path.write_bytes(b"\n".join([*lines[:number], text, *lines[number + 1 :]]) + b"\n")
                where = f"{CLAIMS}, line {number + 1}"
                assert any(where in problem for problem in released.problems(twin)), (number, place)
                tried += 1
    assert tried > 100


def resealed(released, twin, edit):
    """Rewrites the claims with the release key itself, one statement edited: what only the key's holder could do."""
    from probity.signed_log import next_line, read_lines

    path = twin / EXTRA / CLAIMS
    lines, _ = read_lines(path.read_bytes(), released.keys.trusted, name=CLAIMS)
    content, after = b"", None
    for line in lines:
        facts = copy.deepcopy(line.facts)
        subject = edit(line.kind, facts) or line.subject
        raw, after = next_line(
            line.kind, facts, subject=subject, name=line.name, after=after, signer=released.keys.signer
        )
        content += raw
    path.write_bytes(content)


OTHER = digest_bytes(b"other")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("dataset", {"content": OTHER}),
        ("dataset", {"splits": {"test": OTHER}}),
        ("training", {"run": "another"}),
        ("audit", {"report": OTHER}),
        ("card", {"reports": {}}),
        ("card", {"files": {}}),
        ("decision", {"decision": OTHER}),
        ("decision", {"verdict": "hold"}),
        ("decision", {"policy": "{}"}),
        ("decision", {"evidence": OTHER}),
        ("decision", {"files": {}}),
        ("release", {"files": {}}),
    ],
)
def test_statements_that_contradict_one_another_do_not_pass_with_the_right_key(released, twin, kind, change):
    resealed(released, twin, lambda name, facts: facts.update(change) if name == kind else None)
    assert released.problems(twin) != []


def test_a_statement_about_another_model_is_named(released, twin):
    resealed(released, twin, lambda name, facts: OTHER if name == "audit" else None)
    assert any("about another model" in problem for problem in released.problems(twin))


def test_a_statement_of_an_unknown_kind_or_form_is_named(released, twin):
    resealed(released, twin, lambda name, facts: facts.update(later=1) if name == "card" else None)
    assert any("no statement that this version knows" in problem for problem in released.problems(twin))


# --- other places, other keys, other times ---------------------------------------------------------------------------


def test_another_number_or_another_model_name_is_named(released, tmp_path):
    for place, word in (("m/7", "another number"), (f"n/{released.path.name}", "below another")):
        shutil.copytree(released.path, tmp_path / place)
        assert any(word in problem for problem in released.problems(tmp_path / place)), place


def test_a_stranger_with_a_key_of_their_own_is_nobody(released, tmp_path):
    theirs = Released(tmp_path)
    found = verify(theirs.path, trusted_keys=released.keys.trusted)
    assert any("not trusted" in str(problem) for problem in found.problems)
    assert verify(theirs.path, trusted_keys={}).release is None


def test_expired_evidence_is_named_and_told_apart_from_tampering(tmp_path):
    end = NOON + timedelta(days=365)
    candidate = Candidate(tmp_path / "made")
    evidence = attest(
        candidate.card, candidate.decision, run="run-1", expires_at=(end + timedelta(days=9999)).isoformat()
    )
    released = Released(tmp_path, evidence=evidence)
    assert released.problems(now=end) == []
    found = verify(released.path, trusted_keys=released.keys.trusted, now=end + timedelta(days=9999))
    assert [problem.where for problem in found.problems] == ["evidence"]
    assert (found.ok, found.intact) == (False, True)


# --- approvals -------------------------------------------------------------------------------------------------------


class People:
    """Reviewers with keys, and what they seal."""

    def __init__(self, root: Path):
        root.mkdir()
        for name in ("kim", "lee", "sam"):
            create_key(root / f"{name}.pem", kind="ed25519")
        self.keys = {name: load_key(root / f"{name}.pem") for name in ("kim", "lee", "sam")}

    def terms(self, *, quorum=1, started_by=("sam",)) -> ApprovalTerms:
        pems = {name: key.public.pem for name, key in self.keys.items()}
        return ApprovalTerms(quorum=quorum, reviewers=pems, started_by=started_by)

    def approval(self, name, candidate, *, key=None, **changes) -> ApprovalClaim:
        fields = {
            "run": candidate.run,
            "model_name": "m",
            "model": candidate.decision.model,
            "evidence": evidence_of(candidate.decision),
            "outcome": "approve",
            "reviewer": name,
            "at": NOON.isoformat(),
        }
        return ApprovalClaim(sealed=seal_review(Review(**{**fields, **changes}), self.keys[key or name]))


def evidence_of(decision):
    from probity.digest import digest_json

    return digest_json(files_of(decision))


def try_to_release(tmp_path, *, approvals, **terms):
    """Pushes a candidate whose policy needs approval, resting on these approvals."""
    people = People(tmp_path / "people")
    candidate = Candidate(tmp_path / "run")
    claims = [people.approval(*entry[0], candidate, **entry[1]) for entry in approvals]
    shutil.rmtree(candidate.root)
    made = Candidate(tmp_path / "other")
    evidence = attest(made.card, made.decision, run="run-1", claims=claims, approval=people.terms(**terms))
    return Released(tmp_path, evidence=evidence)


def test_an_approved_release_verifies(tmp_path):
    released = try_to_release(tmp_path, approvals=[(("kim",), {})])
    assert released.problems() == []


@pytest.mark.parametrize(
    ("approvals", "terms"),
    [
        ([], {}),
        ([(("sam",), {})], {}),
        ([(("kim",), {})], {"quorum": 2}),
        ([(("kim",), {}), (("kim",), {"comment": "twice"})], {"quorum": 2}),
        ([(("kim",), {"key": "lee"})], {}),
        ([(("kim",), {"evidence": OTHER})], {}),
        ([(("kim",), {"run": "another"})], {}),
        ([(("kim",), {"model": OTHER})], {}),
        ([(("kim",), {"model_name": "n"})], {}),
        ([(("kim",), {"outcome": "reject"})], {}),
    ],
    ids=["none", "alone", "quorum", "twice", "forged", "evidence", "run", "model", "name", "rejected"],
)
def test_a_release_without_the_approvals_it_needs_never_appears(tmp_path, approvals, terms):
    with pytest.raises(SignatureError, match="would not verify: approval"):
        try_to_release(tmp_path, approvals=approvals, **terms)
    assert list((tmp_path / "serving").glob("m/*")) == []


def test_who_started_the_run_counts_beside_another(tmp_path):
    released = try_to_release(tmp_path, approvals=[(("kim",), {}), (("sam",), {})], quorum=2)
    assert released.problems() == []


def test_a_decision_that_was_lifted_by_nobody_never_appears(tmp_path):
    from probity.decision import Check

    candidate = Candidate(tmp_path / "made")
    lifted = Check(rule="gap", outcome="fail", required="gap <= 0.1", reason="0.2", lifted_by="waiver")
    decision = decide(candidate.model, candidate.card, checks=(lifted,))
    evidence = attest(candidate.card, decision, run="run-1")
    with pytest.raises(SignatureError, match="no waiver in force lifts the rule gap"):
        Released(tmp_path, decision=decision, evidence=evidence)
    assert os.listdir(tmp_path / "serving") == [".m.lock"]
