"""What may stand under ``trainer: {mitigation: ...}``, and the errors of everything else."""

import pytest

from probity.config_file import load_config, parse_settings
from probity.errors import ConfigError, MissingExtraError
from probity.trainers.dp_sgd.settings import DpSgdSettings
from probity.trainers.mitigation import settings as module
from probity.trainers.mitigation.settings import (
    ExponentiatedGradientSettings,
    MinDiffSettings,
    NoMitigation,
    ReweighingSettings,
    ThresholdOptimizerSettings,
)
from probity.trainers.plain import PlainSettings


def parse(mitigation, kind=PlainSettings, **others):
    return parse_settings(kind, {"mitigation": mitigation, **others}, origin="trainer plain")


def test_nothing_is_the_default_and_one_word():
    assert PlainSettings().mitigation == parse("none").mitigation == NoMitigation()
    assert PlainSettings().across == ()
    PlainSettings().require_packages()


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("reweighing", ReweighingSettings),
        ("mindiff", MinDiffSettings),
        ("threshold_optimizer", ThresholdOptimizerSettings),
        ("exponentiated_gradient", ExponentiatedGradientSettings),
    ],
)
def test_a_method_names_its_groups_and_reads_back(method, kind):
    settings = parse({"method": method, "across": "sex"})
    assert isinstance(settings.mitigation, kind)
    assert settings.across == ("sex",)
    assert parse({"method": method, "across": ["sex", "race"]}).across == ("sex", "race")
    assert PlainSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ("reweighing", "mitigation.across: ", "missing"),
        ({"across": "sex"}, "mitigation: ", "method"),
        ({"method": "prayer", "across": "sex"}, "mitigation: ", "'threshold_optimizer'"),
        ({"method": "reweighing", "across": []}, "mitigation.across: ", "at least 1"),
        ({"method": "reweighing", "across": ["sex", "sex"]}, "mitigation.across: ", "twice"),
        ({"method": "mindiff", "across": "sex", "wieght": 2}, "mitigation.wieght: ", "did you mean 'weight'"),
        ({"method": "mindiff", "across": "sex", "weight": 0}, "mitigation.weight: ", "greater than 0"),
        ({"method": "reweighing", "across": "sex", "constraint": "equalized_odds"}, "mitigation.constraint", "unknown"),
        ({"method": "none", "across": "sex"}, "mitigation.across: ", "unknown key"),
        (3, "mitigation: ", "3"),
    ],
)
def test_what_cannot_be_is_refused_by_the_key_as_it_stands_in_the_file(given, place, words):
    with pytest.raises(ConfigError) as error:
        parse(given)
    assert f"trainer plain: {place}" in str(error.value)
    assert words in str(error.value)


def test_a_private_training_takes_two_of_the_methods():
    noise = {"noise_multiplier": 1.0}
    for method in ("reweighing", "threshold_optimizer"):
        assert parse({"method": method, "across": "sex"}, DpSgdSettings, **noise).across == ("sex",)
    for method in ("mindiff", "exponentiated_gradient"):
        with pytest.raises(ConfigError, match="'threshold_optimizer'"):
            parse({"method": method, "across": "sex"}, DpSgdSettings, **noise)


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ("mindiff", "tensorflow_model_remediation"),
        ("threshold_optimizer", "fairlearn"),
        ("exponentiated_gradient", "fairlearn"),
    ],
)
def test_a_missing_library_is_named_with_its_extra_before_anything_runs(method, package, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"{package} cannot.*pip install 'probity\[mitigation\]'"):
        parse({"method": method, "across": "sex"}).require_packages()
    parse({"method": "reweighing", "across": "sex"}).require_packages()


def test_another_method_replaces_the_settings_of_the_one_it_extends(tmp_path):
    base = "name: x\ndata: {source: x.csv, label: {column: y}}\nmodel: {kind: logistic}\nserving: {model_name: x}\n"
    base += "trainer: {name: plain, epochs: 3, mitigation: {method: mindiff, across: sex, weight: 2.0}}\n"
    (tmp_path / "base.yaml").write_text(base)
    for method, kept in (("reweighing", {}), ("mindiff", {"weight": 2.0})):
        text = f"extends: base.yaml\ntrainer: {{mitigation: {{method: {method}, across: race}}}}\n"
        (tmp_path / "other.yaml").write_text(text)
        trainer = load_config(tmp_path / "other.yaml").trainer.settings
        assert trainer == {"epochs": 3, "mitigation": {"method": method, "across": "race", **kept}}
