"""The JSON that the server sends, and its OpenAPI description."""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic.json_schema import models_json_schema

from resnet_cli.outputs.schema import Layout, to_dict
from resnet_cli.prediction import Prediction
from resnet_cli.version import SCHEMA_VERSION, __version__

#: Columns of a prediction, under the names that `predict` uses.
_COLUMNS = ("label", "prob", "topk", "unknown", "novelty", "unfamiliar", "error")


class Share(pydantic.BaseModel):
    """A class and its probability."""

    label: str
    prob: float = pydantic.Field(ge=0, le=1)


class Answer(pydantic.BaseModel):
    """The prediction for one image."""

    name: str = pydantic.Field(description="The name that the image was sent with.")
    label: str | None = pydantic.Field(description="The class, or 'unknown'; null if the image cannot be read.")
    prob: float | None = pydantic.Field(
        description="Probability of the most probable class, also if the label is 'unknown'."
    )
    topk: list[Share] = pydantic.Field(description="The most probable classes, most probable first.")
    unknown: str | None = pydantic.Field(description="Why the label is 'unknown'; null if it is a class.")
    novelty: float | None = pydantic.Field(description="How unlike all training images the image is, 0 to 2.")
    unfamiliar: bool | None = pydantic.Field(
        description="Whether the image is unlike the training images; null if the model cannot tell."
    )
    error: str | None = pydantic.Field(description="Why the image cannot be read.")
    explanation: str | None = pydantic.Field(
        description="If requested, a heat map of where the network looked: a JPEG as a data: URL."
    )

    @classmethod
    def of(cls, prediction: Prediction, explanation: str | None) -> Answer:
        """Converts a prediction."""
        return cls(name=prediction.path, explanation=explanation, **to_dict(prediction, Layout(_COLUMNS)))


class ModelInfo(pydantic.BaseModel):
    """The model that predicts."""

    name: str
    sha256: str = pydantic.Field(description="SHA-256 of the model file that it was made from.")
    image_size: int = pydantic.Field(description="Side of the square that the network sees, in pixels.")
    tells_unfamiliar: bool = pydantic.Field(
        description="Whether the model can tell that an image is unlike the training images."
    )
    can_abstain: bool = pydantic.Field(description="Whether images may be labeled 'unknown'.")
    can_explain: bool


class Answers(pydantic.BaseModel):
    """The response of POST /predict."""

    schema_version: int = SCHEMA_VERSION
    model: ModelInfo
    predictions: list[Answer]


class Classes(pydantic.BaseModel):
    """The response of GET /classes."""

    schema_version: int = SCHEMA_VERSION
    model: ModelInfo
    classes: list[str] = pydantic.Field(description="Class names in index order.")


class Problem(pydantic.BaseModel):
    """What went wrong."""

    code: str
    message: str


class Failure(pydantic.BaseModel):
    """Any response with a status of 400 or more."""

    schema_version: int = SCHEMA_VERSION
    error: Problem


class Health(pydantic.BaseModel):
    """The response of GET /healthz."""

    status: str = "ok"


#: Status -> (code, when).
PROBLEMS = {
    400: ("bad_request", "The request is not valid."),
    401: ("unauthorized", "The token is missing or wrong."),
    404: ("not_found", "There is no such path."),
    405: ("method_not_allowed", "The path does not take this method."),
    408: ("timeout", "The body did not arrive in time."),
    413: ("too_large", "The body is over the limit."),
    415: ("unsupported_type", "The body is neither an image nor a form with files."),
    421: ("wrong_host", "The request was meant for another host."),
    422: ("unreadable", "None of the images can be read."),
    500: ("internal", "A bug in the server."),
    503: ("busy", "Too many requests are in flight; Retry-After says when to try again."),
}


def openapi(*, needs_token: bool, max_files: int) -> dict[str, Any]:
    """The OpenAPI 3.1 description. Source: https://spec.openapis.org/oas/v3.1.0."""
    models = (Answers, Classes, Failure, Health)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )

    def good(model: type[pydantic.BaseModel]) -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{model.__name__}"}
        return {"description": model.__doc__, "content": {"application/json": {"schema": schema}}}

    def failures(*statuses: int) -> dict[str, Any]:
        return {str(status): good(Failure) | {"description": PROBLEMS[status][1]} for status in statuses}

    def query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}

    binary = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": binary, "minItems": 1, "maxItems": max_files}
    form = {"type": "object", "properties": {"file": files}}
    predict = {
        "operationId": "predict",
        "summary": "Classify images.",
        "parameters": [
            query("topk", {"type": "integer", "minimum": 1, "default": 5}, "Number of classes per image."),
            query(
                "explain", {"type": "boolean", "default": False}, "Also draw a heat map of where the network looked."
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {"image/*": {"schema": binary}, "multipart/form-data": {"schema": form}},
        },
        "responses": {"200": good(Answers)} | failures(400, 401, 408, 413, 415, 422, 500, 503),
    }
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "resnet-cli serve", "version": __version__},
        "paths": {
            "/predict": {"post": predict},
            "/classes": {"get": _get("classes", "The classes and the model.", {"200": good(Classes)} | failures(401))},
            "/healthz": {
                "get": _get("healthz", "Whether the server is running.", {"200": good(Health)}) | {"security": []}
            },
            "/metrics": {"get": _get("metrics", "Metrics for Prometheus.", {"200": _TEXT} | failures(401))},
        },
        "components": {"schemas": schemas["$defs"]},
    }
    if needs_token:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


_TEXT = {"description": "Counters.", "content": {"text/plain": {"schema": {"type": "string"}}}}


def _get(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": responses}
