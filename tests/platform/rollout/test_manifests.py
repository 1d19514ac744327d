"""Objects for Kubernetes: what divides traffic adds up, stage by stage."""

import yaml

from probity.platform.rollout.manifests import manifest
from probity.rollout import RolloutPlan

PLAN = RolloutPlan(model_name="adult_income", incumbent=3, candidate=5, shadow_share=0.1)


def objects(step, kind):
    return list(yaml.safe_load_all(manifest(PLAN, step, kind=kind, storage="s3://models/adult_income/")))


def test_kserve_names_the_candidates_bytes_and_its_share():
    (service,) = objects(2, "kserve")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert service["metadata"]["name"] == "adult-income"
    predictor = service["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == 10
    assert predictor["model"]["storageUri"] == "s3://models/adult_income/5"


def test_istio_divides_by_weight_and_mirrors_in_the_shadow():
    for step, share in enumerate((0, 1, 10, 50, 100)):
        rule, service = objects(step, "istio")
        (route,) = service["spec"]["http"]
        weights = {entry["destination"]["subset"]: entry["weight"] for entry in route["route"]}
        assert weights == {"v3": 100 - share, "v5": share}
        assert ("mirror" in route) == (step == 0)
        assert {entry["name"] for entry in rule["spec"]["subsets"]} == set(weights)
    assert objects(0, "istio")[1]["spec"]["http"][0]["mirrorPercentage"] == {"value": 10.0}
