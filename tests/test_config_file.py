"""What the reader of config files refuses, what it says about it, and that it says it without a traceback."""

import pytest

from probity.config_file import load_config, parse_settings
from probity.errors import ConfigError
from probity.record import Record
from tests.configs import FULL, MINIMAL, merged, refused, with_data, with_rules


@pytest.fixture
def load(tmp_path):
    def load(text, *overrides):
        path = tmp_path / "probity.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, overrides=overrides)

    return load


# -- files ---------------------------------------------------------------------------------------------------------


def test_the_documented_example_is_read(load):
    config = load(FULL)
    assert [entry.attribute for entry in config.data.sensitive] == ["sex", "race", "age_band"]
    assert config.trainer.settings == {"epochs": 8, "batch_size": 256, "learning_rate": 0.001}
    assert config.gate.rules[2].across == ("sex",)
    assert config.schema_file == "schema.pbtxt"
    assert config.audits.all_thresholds == (0.25, 0.5, 0.75)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "null"),
        ("null", "null"),
        ("- name: a\n", "a YAML list"),
        ("just text", "a YAML text"),
        ("3", "a YAML number"),
        ("name: [", "invalid YAML at line 1"),
        ("a: b: c", "invalid YAML at line 1"),
        ("name: a\nname: b\n", "invalid YAML at line 2"),
        ("gate:\n  rules: []\n  rules: []\n", "invalid YAML at line 3"),
        ("--- a\n--- b\n", "invalid YAML"),
        ("seed: 2024-13-45\n", "invalid YAML"),
        ("[" * 3000, "invalid YAML"),
        ("!!python/object/apply:os.getcwd []", "invalid YAML"),
        ("name: \x00", "invalid YAML"),
        (b"\xff\xfe\x00", "no readable UTF-8"),
        ("name: a".encode("utf-16"), "no readable UTF-8"),
        ("name: é".encode("latin-1"), "no readable UTF-8"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_error(load, text, seen):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert seen in caught.value.seen
    assert "probity.yaml" in caught.value.argument


def test_a_byte_order_mark_is_accepted(load):
    assert load("\ufeff" + FULL).name == "adult-income"


def test_yaml_merge_keys_still_work(load):
    text = FULL.replace("tracking: {uri: null}", "tracking:\n  <<: {uri: null}\n")
    assert load(text).tracking.uri is None


def test_a_missing_file_and_a_folder(tmp_path):
    for path, seen in ((tmp_path / "absent.yaml", "no readable"), (tmp_path, "a folder")):
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert seen in caught.value.seen


# -- extends -------------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "base.yaml").write_text(FULL)

    def load(text, *overrides, name="probity.yaml"):
        (tmp_path / name).write_text(text)
        return load_config(tmp_path / name, overrides=overrides)

    return load


def test_mappings_are_merged_and_everything_else_is_replaced(chain):
    config = chain("extends: base.yaml\naudits: {confidence: 0.9}\ngate: {rules: []}\n", "seed=9")
    assert (config.audits.confidence, config.audits.min_group_size) == (0.9, 100)
    assert config.gate.rules == ()
    assert (config.name, config.seed) == ("adult-income", 9)


def test_a_chain_of_files(chain, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "middle.yaml").write_text("extends: ../base.yaml\nseed: 1\nname: middle\n")
    config = chain("extends: sub/middle.yaml\nseed: 2\n")
    assert (config.name, config.seed) == ("middle", 2)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("extends: probity.yaml\n", "circle"),
        ("extends: other.yaml\n", "circle"),
        ("extends: absent.yaml\n", "no readable"),
        ("extends: .\n", "a folder"),
        ("extends: [base.yaml]\n", "no readable"),
        ("extends: list.yaml\n", "a YAML list"),
        ("extend: base.yaml\n", "unknown key 'extend'"),
    ],
)
def test_what_cannot_be_extended(chain, tmp_path, text, seen):
    (tmp_path / "other.yaml").write_text("extends: ./probity.yaml\n")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError) as caught:
        chain(text)
    assert seen in caught.value.seen


# -- overrides -----------------------------------------------------------------------------------------------------


def test_overrides_are_read_as_yaml_and_applied_in_order(load):
    config = load(FULL, "seed=3", "seed=4", "trainer.epochs=2", "data.exclude=[fnlwgt]", "schema=null", "card.owner=us")
    assert (config.seed, config.trainer.settings["epochs"]) == (4, 2)
    assert (config.data.exclude, config.schema_file, config.card.owner) == (("fnlwgt",), None, "us")


def test_an_override_may_hold_an_equals_sign(load):
    assert load(FULL, "tracking.uri=http://localhost:5000/?a=b").tracking.uri == "http://localhost:5000/?a=b"


@pytest.mark.parametrize(
    ("assignment", "argument"),
    [
        ("seed", "--set"),
        ("=3", "--set"),
        (".seed=3", "--set"),
        ("data..source=3", "--set"),
        ("seed=[", "--set seed"),
        ("seed=2024-13-45", "--set seed"),
        ("model={kind: mlp, kind: mlp}", "--set model"),
        ("data.source.train=x", "--set data.source.train"),
        ("seed=abc", "seed"),
        ("seed=1.5", "seed"),
        ("seed=null", "seed"),
        ("seed=[1]", "seed"),
        ("seed=-1", "seed"),
        ("trainer=3", "trainer"),
        ("data.split.train=many", "data.split.train"),
        ("data.exclude=fnlwgt", "data.exclude"),
        ("audits.confidence=1", "audits.confidence"),
        ("model.hidden=[1.5]", "model.hidden"),
        ("gate=none", "gate"),
    ],
)
def test_a_wrong_override_names_what_is_wrong(load, assignment, argument):
    with pytest.raises(ConfigError) as caught:
        load(FULL, assignment)
    assert argument in caught.value.argument


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (merged(sed=3), "seed"),
        (merged(shema="x"), "schema"),
        (with_data(lable={}), "label"),
        (with_data(sensitive=[{"column": "a", "bin": [1]}]), "bins"),
        (with_data(privacy_unit={"colum": "id"}), "column"),
        (with_rules({"name": "x", "metric": "auc", "at_leest": 0.5}), "at_least"),
        (merged(serving={"model_nam": "m"}), "model_name"),
        (merged(gate={"rule": []}), "rules"),
    ],
)
def test_a_misspelt_key_gets_its_likely_name(value, meant):
    assert f"did you mean '{meant}'?" in refused(value).seen


def test_an_unknown_key_lists_the_known_ones():
    assert refused(merged(zzz=1)).allowed.split(", ")[:3] == ["schema_version", "name", "seed"]
    assert "schema_file" not in refused(merged(zzz=1)).allowed


def test_an_unknown_key_is_named_before_the_missing_one_it_stands_for():
    value = {"name": "a", "dta": MINIMAL["data"], "model": {"kind": "logistic"}, "serving": {"model_name": "m"}}
    assert "'dta'" in refused(value).seen


@pytest.mark.parametrize("key", ["name", "data", "model", "serving"])
def test_a_missing_key_is_named(key):
    error = refused({name: value for name, value in MINIMAL.items() if name != key})
    assert key in error.argument
    assert error.seen.startswith("missing")


def test_keys_that_are_no_text():
    assert refused({**MINIMAL, 1: 2}).exit_code == 2


def test_a_wrong_split_name():
    assert "evl" in refused(with_data(split={"train": 1, "evl": 1, "test": 1})).argument


def test_the_number_of_further_problems_is_told():
    error = refused(merged(seed="x", audits={"confidence": 3, "min_group_size": 0}))
    assert "2 more problems" in error.seen


# -- settings ------------------------------------------------------------------------------------------------------


class _Settings(Record):
    epochs: int = 1


def test_a_trainers_settings_are_parsed_with_the_same_errors():
    assert parse_settings(_Settings, {"epochs": 2}, origin="trainer").epochs == 2
    with pytest.raises(ConfigError) as caught:
        parse_settings(_Settings, {"epoch": 2}, origin="trainer plain")
    assert "did you mean 'epochs'?" in caught.value.seen
    assert caught.value.argument == "trainer plain: epoch"


# -- the card in a file of its own -------------------------------------------------------------------------------------


def test_the_card_may_be_a_file_beside_the_config(chain, tmp_path):
    (tmp_path / "card.yaml").write_text("owner: us\nrisks: {safety: none}\ncontacts: [{role: privacy, reach: here}]\n")
    config = chain("extends: base.yaml\ncard: card.yaml\n", "card.licence=MIT")
    assert (config.card.owner, config.card.risks.safety, config.card.licence) == ("us", "none", "MIT")
    assert config.card.contacts[0].reach == "here"


def test_what_extends_a_config_adds_to_its_card_file(chain, tmp_path):
    (tmp_path / "card.yaml").write_text("owner: us\nlicence: MIT\n")
    (tmp_path / "middle.yaml").write_text("extends: base.yaml\ncard: card.yaml\n")
    config = chain("extends: middle.yaml\ncard: {licence: Apache-2.0}\n")
    assert (config.card.owner, config.card.licence) == ("us", "Apache-2.0")


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("absent.yaml", None, "no readable"),
        ("card.yaml", "- a list\n", "a YAML list"),
        ("probity.yaml", None, "circle"),
        ("card.yaml", "risks: {saftey: none}\n", "did you mean"),
    ],
)
def test_a_card_file_that_is_none_is_refused(chain, tmp_path, name, text, seen):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        chain(f"extends: base.yaml\ncard: {name}\n")
    assert seen in caught.value.seen
