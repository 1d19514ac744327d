import pytest

from probity.access import Role, require_safe, role_rules
from probity.errors import ConfigError

RULES = role_rules({"viewer": ["Vera@example.org"], "internal": ["ines@example.org"]})


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"email": "vera@example.org"}, Role.VIEWER),
        ({"email": "INES@example.org", "email_verified": True}, Role.INTERNAL),
        ({"email": "eve@example.org"}, None),
        ({"email": "ines@example.org", "email_verified": False}, None),
        ({"email": "ines@example.org", "email_verified": "false"}, None),
        ({"email": ""}, None),
        ({"email": ["ines@example.org"]}, None),
        ({}, None),
    ],
)
def test_a_person_has_the_role_that_the_rules_give(claims, role):
    assert RULES.role_of(claims) is role


def test_everybody_who_is_logged_in_may_be_a_viewer_and_never_internal():
    assert role_rules({"viewer": ["*"]}).role_of({"email": "anybody@example.org"}) is Role.VIEWER
    assert role_rules({"viewer": ["*"]}).role_of({}) is None
    with pytest.raises(ConfigError, match="internal is everybody"):
        role_rules({"internal": ["*"]})


@pytest.mark.parametrize("section", [{"viewer": "vera@example.org"}, {"viewers": []}, {"internal": [1]}])
def test_other_forms_are_refused(section):
    with pytest.raises(ConfigError, match="secrets"):
        role_rules(section)


def test_without_rules_nobody_has_a_role():
    assert role_rules({}).role_of({"email": "ines@example.org"}) is None


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.0.2", "example.org", ""])  # noqa: S104
def test_without_a_login_other_machines_are_kept_out(address):
    with pytest.raises(ConfigError, match="--address"):
        require_safe(address=address, mode="local")
    require_safe(address=address, mode="public")
    require_safe(address=address, mode="login")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_no_login(address):
    require_safe(address=address, mode="local")


def test_roles_are_ordered():
    assert Role.PUBLIC < Role.VIEWER < Role.INTERNAL
