"""MLflow's webhooks of its model and prompt registries.

Source: MLflow's documentation, *Webhooks*: the body is ``entity``, ``action``, ``timestamp`` and ``data``, of which ``data.name`` is the
registered model. The signature is made as ``v1,`` and the base64 of an HMAC-SHA256 over id, time and body with dots between them.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest, new
from typing import Any

import orjson

from streamdrift.errors import Rejected
from streamdrift.events import fields
from streamdrift.feeds.drafts import Scope, event, identity

SIGNATURE, DELIVERY, TIMESTAMP = "x-mlflow-signature", "x-mlflow-delivery-id", "x-mlflow-timestamp"
AGE_MAX_S = 300
"""A signature is good for so long, before and after: what was overheard can't be sent again later."""


def signed(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> str | None:
    """Return what is wrong with a request's signature; None where nothing is."""
    given, delivery, at = (headers.get(name, "") for name in (SIGNATURE, DELIVERY, TIMESTAMP))
    content = f"{delivery}.{at}.".encode("utf-8", "replace") + body
    right = "v1," + b64encode(new(secret.encode(), content, sha256).digest()).decode()
    if not compare_digest(given.encode("utf-8", "replace"), right.encode()):
        return "the signature is missing or wrong: changes.mlflow_secret must be the secret of the webhook in MLflow"
    if not at.isascii() or not at.isdecimal() or len(at) > 12 or abs(int(at) - now) > AGE_MAX_S:
        return f"the signature is more than {AGE_MAX_S} s old or of a time to come; are both clocks right?"
    return None


def read(body: Mapping[str, Any], scope: Scope) -> dict[str, Any] | None:
    """Return the change; None of an event that changes nothing.

    Raises
    ------
    Rejected
        A field is missing, or can't be read.
    """
    data = fields.mapping(body, "data")
    entity, action = (fields.text(body, name, 64) or "" for name in ("entity", "action"))
    told = {name: fields.text(data, name, 256) or "?" for name in ("name", "version", "alias", "key", "value")}
    what = _WHAT.get((entity, action))
    if what is None:
        if not entity or not action:
            raise Rejected("missing_field", "a webhook of MLflow has `entity` and `action`, as text")
        return None
    kind, words = what
    prompt = entity.startswith("prompt")
    name = fields.text(data, "name", 256)
    return event(
        identity("mlflow", entity, action, str(body.get("timestamp")), _plain(data)),
        body.get("timestamp"),
        scope.kind or kind,
        words.format(**told),
        models=scope.models or ([name] if name and not prompt else []),
        features=scope.features,
    )


def _plain(data: Mapping[str, Any]) -> str:
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()


_WHAT = {
    ("registered_model", "created"): ("experiment", "MLflow: model {name} was registered"),
    ("model_version", "created"): ("experiment", "MLflow: version {version} of {name} was registered"),
    ("model_version_alias", "created"): ("deployment", "MLflow: {alias} of {name} is version {version}"),
    ("model_version_alias", "deleted"): ("deployment", "MLflow: {name} has no {alias} any more"),
    ("model_version_tag", "set"): ("configuration", "MLflow: version {version} of {name}: {key} = {value}"),
    ("model_version_tag", "deleted"): ("configuration", "MLflow: version {version} of {name}: {key} is gone"),
    ("prompt", "created"): ("experiment", "MLflow: prompt {name} was registered"),
    ("prompt_version", "created"): ("experiment", "MLflow: version {version} of prompt {name} was registered"),
    ("prompt_alias", "created"): ("configuration", "MLflow: {alias} of prompt {name} is version {version}"),
    ("prompt_alias", "deleted"): ("configuration", "MLflow: prompt {name} has no {alias} any more"),
    ("prompt_tag", "set"): ("configuration", "MLflow: prompt {name}: {key} = {value}"),
    ("prompt_tag", "deleted"): ("configuration", "MLflow: prompt {name}: {key} is gone"),
    ("prompt_version_tag", "set"): ("configuration", "MLflow: version {version} of prompt {name}: {key} = {value}"),
    ("prompt_version_tag", "deleted"): ("configuration", "MLflow: version {version} of prompt {name}: {key} is gone"),
}
"""Kind and words by entity and action. An alias is what serving follows; a version that is merely registered serves nobody yet."""
