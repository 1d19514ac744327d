"""Every record of the package: one JSON form, frozen, strict, and without NaN.

Values are made from the annotations, so a new record or field is covered without an edit here; a record whose
validators want more than its annotations say gets its special fields in ``SPECIAL``.
"""

import copy
import enum
import importlib
import json
import math
import pkgutil
import types
import typing
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import probity
from probity.digest import digest_bytes
from probity.record import Record

DIGEST = digest_bytes(b"x")
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVN1F+ZnNiV82UrYTXf/jKx+cukdh
GJWDyqpBZnyOjf9C86L/fwkvnz1wLJ+7lNazIcPteuwojHgHBw6ZfGkyfQ==
-----END PUBLIC KEY-----
"""

# Per record: fields whose annotation alone does not lead to a valid value.
SPECIAL: dict[str, dict[str, Any]] = {
    "SensitiveConfig": {"bins": [25.0, 40.0]},
    "DataConfig": {
        "label": {"column": "y"},
        "sensitive": [{"column": "sex"}, {"column": "race"}],
        "intersections": [["sex", "race"]],
        "exclude": ["id"],
        "privacy_unit": "row",
        "split": {"train": 6, "eval": 2, "test": 2},
    },
    "LabelConfig": {"classes": ["bad", "good"], "favourable": ["good"]},
    "ModelConfig": {"kind": "mlp", "hidden": [4], "module": None},
    "Rule": {
        "metric": "selection_rate", "slice": {}, "across": ["sex"], "at_least": None, "at_most": None,
        "change_from_baseline_at_least": None,
        "change_from_baseline_at_most": None, "change_from_unmitigated_at_least": None,
        "change_from_unmitigated_at_most": None, "gap_at_most": 0.5, "ratio_at_least": None, "threshold": 0.5,
        "label_class": None,
    },
    "AuditsConfig": {"shadow_models": 8, "attacked_rows": 1000, "explained_rows": 10, "background_rows": 10},
    "CanariesConfig": {"count": 100, "gradients": 100},
    "Canaries": {"rows_planted": 1, "gradients_planted": 1},
    "Estimate": {"value": 0.5, "lower": 0.25, "upper": 0.75},
    "Finding": {"metric": "accuracy"},
    "AuditReport": {"findings": [], "audit": "performance", "status": "complete"},
    "GateDecision": {"verdict": "release"},
    "DpSgd": {"sampling": "shuffled"},
    "DpFedAvg": {"clipping": {"kind": "fixed", "l2_clip_norm": 1.0}},
    "SigningConfig": {"key": "pkcs11:token=a;object=b?module-path=/c.so"},
    "_Noise": {"target_epsilon": None},
    "DpFedAvgSettings": {"target_epsilon": None},
    "DpFtrlSettings": {"target_epsilon": None},
    "FederatedSettings": {"clients": {"number": 10}, "privacy": "none", "engine": {"workers": ["localhost:8000"]}},
    "EngineSettings": {"workers": ["localhost:8000"]},
    "WorkerRequest": {"body": {}}, "WorkerFinished": {"body": {}},
    "Mitigation": {"no_comparison": None},
    "EncryptionCost": {"no_comparison": None},
    "DataOwners": {"by": "columns", "groups": {"bank": ["age"]}, "label_owner": "bank"},
    "EncryptedSettings": {"batch_size": 256},
    "DpSgdSettings": {"target_epsilon": None, "noise_multiplier": 1.0, "l2_clip_norm": 1.0},
    "Reserved": {"spending": {"kind": "non_private"}},
    "Paid": {"spending": {"kind": "non_private"}},
    "RolloutPlan": {"candidate": 2, "incumbent": 1, "stages": [1, 100]},
    "TransformConfig": {"boundaries": {"age": [25.0, 40.0]}},
    "Check": {"lifted_by": None},
    "Reviewer": {"key": PUBLIC_KEY},
    "BudgetConfig": {"url": "sqlite:///ledger.sqlite"},
    "Basic": {"publication_date": "2026-01-01"},
    "Dataset": {
        "columns": [{"name": "y", "kind": "string", "roles": ["label"]}], "label": "y", "intersections": [],
    },
}  # fmt: skip

CANDIDATES: dict[type, tuple[Any, ...]] = {
    str: ("text", DIGEST, "2026-01-01T00:00:00+00:00"),
    int: (1, 2, 10, 1000),
    float: (0.5, 0.75, 1.0, 2.0, 10.0),
    bool: (True,),
}


def all_records():
    for entry in pkgutil.walk_packages(probity.__path__, "probity."):
        if entry.name != "probity.__main__":
            importlib.import_module(entry.name)

    def below(kind):
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    return sorted({kind for kind in below(Record) if kind.__module__.startswith("probity.")}, key=lambda k: k.__name__)


def build(hint):
    """Returns a JSON-like value for an annotation, every optional part filled."""
    if hint is Any:
        return {"key": [1, "two", None]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return first_valid(hint, arguments[0])
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return build(next(entry for entry in arguments if entry is not type(None)))
    if origin in (tuple, list):
        return [build(arguments[0])]
    if origin is dict:
        return {build(arguments[0]): build(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint)).value
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return make(hint)
    return CANDIDATES[hint][0]


def first_valid(hint, inner):
    if inner not in CANDIDATES:
        return build(inner)
    adapter = TypeAdapter(hint)
    for candidate in CANDIDATES[inner]:
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    raise AssertionError(f"no candidate for {hint}")


def make(kind):
    """Returns the JSON value of a record with every field filled."""
    special = SPECIAL.get(kind.__name__, {})
    value = {}
    for name, field in kind.model_fields.items():
        hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        value[field.alias or name] = special[name] if name in special else build(hint)
    return value


def float_places(value, path=()):
    """Paths of the float leaves of a JSON value."""
    if isinstance(value, float):
        yield path
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from float_places(entry, (*path, key))


def replaced(value, path, leaf):
    copied = copy.deepcopy(value)
    target = copied
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = leaf
    return copied


RECORDS = all_records()
by_name = pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)


@by_name
def test_the_json_form_comes_back_equal(kind):
    record = kind.from_json(make(kind))
    text = json.dumps(record.to_json(), allow_nan=False)
    twin = kind.from_json(json.loads(text))
    assert twin == record
    assert twin.record_digest() == record.record_digest()
    assert twin.to_json() == record.to_json()


@by_name
def test_the_least_form_comes_back_equal(kind):
    whole = make(kind)
    least = {
        field.alias or name: whole[field.alias or name]
        for name, field in kind.model_fields.items()
        if field.is_required()
    }
    try:
        record = kind.from_json(least)
    except ValidationError:  # a combination of fields is required
        record = kind.from_json(whole)
    assert kind.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record


@by_name
def test_a_record_is_frozen_and_strict(kind):
    record = kind.from_json(make(kind))
    for name in kind.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, getattr(record, name))
    with pytest.raises(ValidationError, match="surely_unknown"):
        kind.from_json({**make(kind), "surely_unknown": 1})


@by_name
def test_another_version_is_refused(kind):
    if "schema_version" in kind.model_fields:
        for version in (0, 2, "1", None):
            with pytest.raises(ValidationError):
                kind.from_json({**make(kind), "schema_version": version})


@by_name
def test_nan_is_refused_in_every_place(kind):
    value = make(kind)
    kind.from_json(value)
    for path in float_places(value):
        if "settings" in path:
            continue  # a trainer's own settings, which its own class parses
        for nan in (math.nan, "NaN"):
            with pytest.raises(ValidationError):
                kind.from_json(replaced(value, path, nan))


@by_name
def test_infinity_is_refused_or_spelt(kind):
    value = make(kind)
    for path in float_places(value):
        try:
            record = kind.from_json(replaced(value, path, math.inf))
        except ValidationError:
            continue
        assert json.dumps(record.to_json(), allow_nan=False).count('"Infinity"') == 1
        assert kind.from_json(record.to_json()) == record


@by_name
def test_a_record_says_what_it_is(kind):
    assert kind.__doc__
    assert kind.__doc__ != Record.__doc__


def test_the_nouns_are_among_them():
    names = {kind.__name__ for kind in RECORDS}
    assert {"RunConfig", "Dataset", "Schema", "TrainedModel", "AuditReport", "ModelCard", "GateDecision"} <= names
