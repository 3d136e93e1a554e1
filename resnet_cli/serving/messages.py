"""The JSON that the server sends, and its OpenAPI description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pydantic
from pydantic.json_schema import models_json_schema

from resnet_cli.outputs.schema import ALL_PROBS, Layout, to_dict
from resnet_cli.serving.service import Reply
from resnet_cli.task import TaskName
from resnet_cli.version import SCHEMA_VERSION, __version__

#: Values of a prediction, under the names that `predict` uses.
_OF_ALL = ("topk", "unknown", "novelty", "unfamiliar", "error")
_COLUMNS: Mapping[TaskName, tuple[str, ...]] = {
    "single-label": ("label", "prob", *_OF_ALL),
    "multi-label": ("labels", "probs", *_OF_ALL),
}


class Share(pydantic.BaseModel):
    """A class and its probability."""

    label: str
    prob: float = pydantic.Field(ge=0, le=1)


Name = Annotated[str, pydantic.Field(description="The name that the image was sent with.")]
TopK = Annotated[list[Share], pydantic.Field(description="The most probable classes, most probable first.")]
Novelty = Annotated[float | None, pydantic.Field(description="How unlike all training images the image is, 0 to 2.")]
Unfamiliar = Annotated[
    bool | None,
    pydantic.Field(description="Whether the image is unlike the training images; null if the model cannot tell."),
]
Error = Annotated[str | None, pydantic.Field(description="Why the image cannot be read.")]
AllProbs = Annotated[
    dict[str, float] | None,
    pydantic.Field(description="Class -> probability, for every class; only with ?all_probs=true."),
]


class Answer(pydantic.BaseModel):
    """The prediction for one image."""

    name: Name
    label: str | None = pydantic.Field(description="The class, or 'unknown'; null if the image cannot be read.")
    prob: float | None = pydantic.Field(
        description="Probability of the most probable class, also if the label is 'unknown'."
    )
    topk: TopK
    unknown: str | None = pydantic.Field(description="Why the label is 'unknown'; null if it is a class.")
    novelty: Novelty
    unfamiliar: Unfamiliar
    error: Error
    explanation: str | None = pydantic.Field(
        description="If requested, a heat map of where the network looked: a JPEG as a data: URL."
    )
    all_probs: AllProbs = None

    @classmethod
    def of(cls, reply: Reply, layout: Layout) -> Answer:
        """Converts a reply."""
        explanation = next(iter(reply.explanations.values()), None)
        return cls(name=reply.prediction.path, explanation=explanation, **to_dict(reply.prediction, layout))


class LabelsAnswer(pydantic.BaseModel):
    """The prediction of a multi-label model for one image."""

    name: Name
    labels: list[str] | None = pydantic.Field(
        description="The classes that the image has, most probable first; [] if it has none of them; null if it is "
        "unknown or cannot be read."
    )
    probs: list[float] | None = pydantic.Field(description="The probability of each of the labels.")
    topk: TopK
    unknown: str | None = pydantic.Field(description="Why the labels are unknown; null if they are known.")
    novelty: Novelty
    unfamiliar: Unfamiliar
    error: Error
    explanations: dict[str, str] = pydantic.Field(
        description="If requested, class -> heat map of where the network sees it, a JPEG as a data: URL: for each "
        "label with --runtime torch, otherwise for the most probable class."
    )
    all_probs: AllProbs = None

    @classmethod
    def of(cls, reply: Reply, layout: Layout) -> LabelsAnswer:
        """Converts a reply."""
        found = to_dict(reply.prediction, layout)
        return cls(name=reply.prediction.path, explanations=dict(reply.explanations), **found)


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

    @classmethod
    def of(cls, model: ModelInfo, replies: Sequence[Reply], layout: Layout) -> Answers:
        """Converts the replies to one request."""
        return cls(model=model, predictions=[Answer.of(reply, layout) for reply in replies])


class LabelsAnswers(pydantic.BaseModel):
    """The response of POST /predict."""

    schema_version: int = SCHEMA_VERSION
    model: ModelInfo
    predictions: list[LabelsAnswer]

    @classmethod
    def of(cls, model: ModelInfo, replies: Sequence[Reply], layout: Layout) -> LabelsAnswers:
        """Converts the replies to one request."""
        return cls(model=model, predictions=[LabelsAnswer.of(reply, layout) for reply in replies])


#: The response of POST /predict for each task.
ANSWERS: Mapping[TaskName, type[Answers | LabelsAnswers]] = {"single-label": Answers, "multi-label": LabelsAnswers}


def to_json(model: ModelInfo, task: TaskName, replies: Sequence[Reply], *, all_probs: Sequence[str] = ()) -> str:
    """The response of POST /predict as JSON.

    Args:
        model: The model.
        task: Its task.
        replies: What it predicted for the images of one request.
        all_probs: The classes if the probabilities of all of them were requested.
    """
    layout = Layout((*_COLUMNS[task], *[ALL_PROBS] * bool(all_probs)), tuple(all_probs))
    answers = ANSWERS[task].of(model, replies, layout)
    return answers.model_dump_json(exclude=None if all_probs else {"predictions": {"__all__": {ALL_PROBS}}})


class Classes(pydantic.BaseModel):
    """The response of GET /classes."""

    schema_version: int = SCHEMA_VERSION
    model: ModelInfo
    classes: list[str] = pydantic.Field(description="Class names in index order.")
    task: TaskName = pydantic.Field(description="Whether an image has one label, or any number of them.")
    thresholds: list[float | None] = pydantic.Field(
        description="Multi-label: the least probability at which each class is predicted; null if it never is."
    )


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


def openapi(task: TaskName, *, needs_token: bool, max_files: int) -> dict[str, Any]:
    """The OpenAPI 3.1 description. Source: https://spec.openapis.org/oas/v3.1.0."""
    answers = ANSWERS[task]
    models = (answers, Classes, Failure, Health)
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
            query("all_probs", {"type": "boolean", "default": False}, "Also return the probability of every class."),
        ],
        "requestBody": {
            "required": True,
            "content": {"image/*": {"schema": binary}, "multipart/form-data": {"schema": form}},
        },
        "responses": {"200": good(answers)} | failures(400, 401, 408, 413, 415, 422, 500, 503),
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
