"""What is refused before anything runs."""

import pytest

from probity.config_file import parse_config
from probity.errors import ConfigError, MissingExtraError
from probity.platform.plan import make_plan
from probity.trainers.mitigation import settings


def plan(folder, mitigation, *, trainer="plain", **others):
    (folder / "x.csv").write_text("a,sex,y\n1,F,0\n")
    value = {
        "name": "x",
        "data": {"source": "x.csv", "label": {"column": "y"}, "sensitive": ["sex", "race"]},
        "model": {"kind": "logistic"},
        "trainer": {"name": trainer, "mitigation": mitigation, **others},
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


def test_a_method_whose_library_is_absent_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="mitigation"):
        plan(tmp_path, {"method": "mindiff", "across": "sex"})
    plan(tmp_path, {"method": "reweighing", "across": "sex"})
