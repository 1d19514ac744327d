"""The same stages where Kubernetes routes: KServe or Istio objects as text, one for each percentage.

They only divide traffic. Comparing and deciding stay with the rollout: ``kubectl apply`` the object of the stage that
``probity rollout MODEL --show`` names. Tested as YAML against the fields that the two APIs document; a cluster is not
part of the tests.

References:
    KServe, InferenceService v1beta1: ``canaryTrafficPercent``.
    Istio, networking v1: VirtualService (``weight``, ``mirror``, ``mirrorPercentage``), DestinationRule (``subsets``).
"""

from __future__ import annotations

from typing import Any, Literal

import yaml

from probity.rollout import RolloutPlan

__all__ = ["manifest"]


def manifest(plan: RolloutPlan, step: int, *, kind: Literal["kserve", "istio"], storage: str) -> str:
    """Returns the objects that put a stage into force, as YAML documents.

    Args:
        plan: The rollout.
        step: Position of the stage in ``plan.steps``. KServe knows no shadow: its object for it sends 0 % there.
        kind: Whose API.
        storage: For ``kserve``, where the model's version folders lie, such as ``s3://models/adult_income``.
    """
    share = round(100 * plan.candidate_share(step))
    objects = [_inference_service(plan, share, storage)] if kind == "kserve" else _istio(plan, step, share)
    return yaml.safe_dump_all(objects, sort_keys=False)


def _name(plan: RolloutPlan) -> str:
    return plan.model_name.lower().replace("_", "-")  # names in Kubernetes are DNS labels


def _inference_service(plan: RolloutPlan, share: int, storage: str) -> dict[str, Any]:
    model = {
        "modelFormat": {"name": "tensorflow"},
        "storageUri": f"{storage.rstrip('/')}/{plan.candidate}",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": _name(plan)},
        "spec": {"predictor": {"canaryTrafficPercent": share, "model": model}},
    }


def _istio(plan: RolloutPlan, step: int, share: int) -> list[dict[str, Any]]:
    host = _name(plan)
    subsets = [
        {"name": f"v{version}", "labels": {"version": str(version)}} for version in (plan.incumbent, plan.candidate)
    ]
    route: dict[str, Any] = {
        "route": [
            {"destination": {"host": host, "subset": f"v{plan.incumbent}"}, "weight": 100 - share},
            {"destination": {"host": host, "subset": f"v{plan.candidate}"}, "weight": share},
        ]
    }
    if step == 0:
        route["mirror"] = {"host": host, "subset": f"v{plan.candidate}"}
        route["mirrorPercentage"] = {"value": 100 * plan.shadow_share}
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": host},
            "spec": {"host": host, "subsets": subsets},
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": host},
            "spec": {"hosts": [host], "http": [route]},
        },
    ]
