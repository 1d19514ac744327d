"""What is refused before anything runs."""

import pytest

from probity.config_file import parse_config
from probity.errors import ConfigError, MissingExtraError
from probity.platform.plan import make_plan
from probity.trainers.mitigation import settings


def plan(folder, mitigation, *, trainer="plain", audits=None, gate=None, **others):
    (folder / "x.csv").write_text("a,sex,y\n1,F,0\n")
    value = {
        "name": "x",
        "data": {"source": "x.csv", "label": {"column": "y"}, "sensitive": ["sex", "race"]},
        "model": {"kind": "logistic"},
        "trainer": {"name": trainer, "mitigation": mitigation, **others},
        "audits": audits or {},
        "gate": gate or {},
        "serving": {"model_name": "x"},
    }
    return make_plan(parse_config(value), root=folder)


def test_a_mitigation_across_declared_attributes_is_planned(tmp_path):
    made = plan(tmp_path, {"method": "reweighing", "across": ["sex", "race"]})
    assert made.settings.across == ("sex", "race")
    assert plan(tmp_path, "none").settings.across == ()


@pytest.mark.parametrize("trainer", ["plain", "dp_sgd"])
def test_an_attribute_that_nobody_declared_is_refused(tmp_path, trainer):
    others = {} if trainer == "plain" else {"noise_multiplier": 1.0}
    with pytest.raises(ConfigError, match=r"mitigation\.across: sexx, which .* did you mean 'sex'.*sex, race"):
        plan(tmp_path, {"method": "reweighing", "across": "sexx"}, trainer=trainer, **others)


def test_edge_cases_are_audited_where_somebody_names_some(tmp_path):
    (tmp_path / "cases.csv").write_text("a,y\n1,0\n")
    asked = plan(tmp_path, "none", audits={"edge_cases": "cases.csv"})
    assert asked.edge_cases == tmp_path / "cases.csv"
    assert set(asked.audits) - set(plan(tmp_path, "none").audits) == {"edge_cases"}


def test_a_list_of_edge_cases_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"audits\.edge_cases: no such file"):
        plan(tmp_path, "none", audits={"edge_cases": "cases.csv"})


def test_evidence_of_no_audit_cannot_expire(tmp_path):
    """A misspelt name would let the evidence count for ever, and nobody would know."""
    plan(tmp_path, "none", gate={"expires_after_days": {"fairness": 30, "baseline": 30, "serving": 30}})
    with pytest.raises(
        ConfigError, match=r"expires_after_days\.fairnes: no audit of this name - did you mean 'fairness'"
    ):
        plan(tmp_path, "none", gate={"expires_after_days": {"fairnes": 30}})


def test_a_method_whose_library_is_absent_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="mitigation"):
        plan(tmp_path, {"method": "mindiff", "across": "sex"})
    plan(tmp_path, {"method": "reweighing", "across": "sex"})
