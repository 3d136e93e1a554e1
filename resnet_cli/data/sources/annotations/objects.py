"""Annotation formats with one JSON object per image."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from resnet_cli.data.sources.annotations.items import (
    Annotation,
    Empty,
    ObjectFormat,
    class_names_of,
    class_text,
    labeled,
    listed,
    mapping,
    objects,
    split_text,
    text,
)
from resnet_cli.images import is_image_name

#: Label Studio's path of a local file; the file's own path follows.
_LOCAL_FILE = "/data/local-files/?d="
#: Keys of Label Studio's JSON_MIN that are not controls.
_NO_CONTROLS = frozenset(
    "id annotator annotation_id created_at updated_at lead_time agreement filename file_upload".split()
)
#: Values of Vertex AI's ``ml_use``.
ML_USES = {"training": "train", "train": "train", "validation": "val", "test": "test", "unassigned": ""}


def image_value(values: dict[str, Any]) -> str:
    """The image among the values of an object: ``image`` if there is one, else the first that has an image's name."""
    named = text(values.get("image"))
    return named or next((text(value) for value in values.values() if is_image_name(_name(text(value)))), "")


def _name(path: str) -> str:
    return path.partition("?")[0] if path.startswith("http") else path


def _label_studio(task: dict[str, Any]) -> Annotation:
    """Source: labelstud.io/guide/task_format.html; ``completions`` in versions before 1.0."""
    image = image_value(mapping(task.get("data")))
    done = [
        entry for entry in objects(task.get("annotations", task.get("completions"))) if not entry.get("was_cancelled")
    ]
    # A reviewed annotation settles what the annotators said.
    done = [entry for entry in done if entry.get("ground_truth")] or done
    answers: list[list[tuple[str, str]]] = []
    shapes: list[Any] = []
    for entry in done:
        labels: list[tuple[str, str]] = []
        for result in objects(entry.get("result")):
            value, kind = mapping(result.get("value")), text(result.get("type"))
            if "choices" in value:
                labels += labeled(listed(value["choices"]), text(result.get("from_name")))
            elif "taxonomy" in value:
                paths = ("/".join(map(class_text, listed(path))) for path in listed(value["taxonomy"]))
                labels += labeled(paths, text(result.get("from_name")))
            elif kind not in ("rating", "textarea", "number"):
                # `rectanglelabels`, `polygonlabels` and others have their classes under the name of their type.
                shapes.append(listed(value.get(kind)))
        answers.append(labels)
    return Annotation(
        _local_file(image),
        tuple(dict.fromkeys(label for labels in answers for label in labels)),
        num_shapes=len(shapes),
        objects=class_names_of(name for names in shapes for name in names),
        empty="negative" if done else "unlabeled",
        is_agreed=len({frozenset(labels) for labels in answers}) < 2,
    )


def is_label_studio_row(row: dict[str, Any]) -> bool:
    """Whether an object is one of Label Studio's JSON_MIN."""
    return {"annotator", "annotation_id"} <= row.keys()


def label_studio_row(row: dict[str, Any]) -> Annotation:
    """One object of Label Studio's JSON_MIN, or one row of its CSV.

    Source: labelstud.io/guide/export.html, JSON_MIN: one key per control; several choices are an object.
    """
    image = image_value(row)
    labels: list[tuple[str, str]] = []
    # Without a control of the usual name, data that were imported with the image cannot be told from controls.
    for key in ("choice",) if "choice" in row else row.keys() - _NO_CONTROLS:
        value = row[key]
        if isinstance(value, list):
            return Annotation(_local_file(image), num_shapes=len(value))
        values = listed(mapping(value).get("choices")) if isinstance(value, dict) else [value]
        labels += labeled((one for one in values if one != image), key)
    return Annotation(
        _local_file(image), tuple(sorted(labels)), empty="negative" if row.get("annotation_id") else "unlabeled"
    )


def _local_file(image: str) -> str:
    return unquote(image.partition(_LOCAL_FILE)[2]) if _LOCAL_FILE in image else image


def _create_ml(entry: dict[str, Any]) -> Annotation:
    """Source: Apple, "Creating a multi-label image classifier"; MLObjectDetector adds coordinates."""
    image = next((text(entry[key]) for key in ("filename", "image", "imagefilename") if key in entry), "")
    found = listed(entry.get("annotations", entry.get("annotation")))
    whole = [one for one in found if not (isinstance(one, dict) and "coordinates" in one)]
    names = (one.get("label") if isinstance(one, dict) else one for one in whole)
    shapes = [one.get("label") for one in objects(found) if "coordinates" in one]
    return Annotation(image, labeled(names), num_shapes=len(shapes), objects=class_names_of(shapes), empty="negative")


def _vertex(entry: dict[str, Any]) -> Annotation:
    """Source: cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data."""
    found = [entry.get("classificationAnnotation"), *listed(entry.get("classificationAnnotations"))]
    resources = mapping(entry.get("dataItemResourceLabels"))
    ml_use = text(resources.get("aiplatform.googleapis.com/ml_use")).lower()
    return Annotation(
        text(entry.get("imageGcsUri")),
        labeled(mapping(one).get("displayName") for one in found),
        ML_USES.get(ml_use, ml_use),
        len(listed(entry.get("boundingBoxAnnotations"))),
        objects=class_names_of(one.get("displayName") for one in objects(entry.get("boundingBoxAnnotations"))),
        empty="negative" if isinstance(entry.get("classificationAnnotations"), list) else "unclear",
    )


def _sage_maker(entry: dict[str, Any]) -> Annotation:
    """Source: docs.aws.amazon.com/sagemaker/latest/dg/augmented-manifest.html, sms-data-output.html."""
    labels: list[tuple[str, str]] = []
    num_shapes = 0
    empty: Empty = "unlabeled"
    for key, metadata in entry.items():
        if not key.endswith("-metadata") or not isinstance(metadata, dict) or "failure-reason" in metadata:
            continue
        attribute = key.removesuffix("-metadata")
        value = entry.get(attribute, entry.get(f"{attribute}-ref"))
        if isinstance(value, dict):
            num_shapes += len(listed(value.get("annotations")))
        elif "class-map" in metadata:
            names = mapping(metadata["class-map"])
            empty = "negative" if isinstance(value, list) else empty
            labels += labeled((names.get(str(one), one) for one in listed(value)), attribute)
        elif "segmentation" in text(metadata.get("type")):
            num_shapes += 1
        else:
            labels += labeled([metadata.get("class-name", value)], attribute)
    return Annotation(text(entry.get("source-ref")), tuple(labels), num_shapes=num_shapes, empty=empty)


def _azure_ml(entry: dict[str, Any]) -> Annotation:
    """Source: learn.microsoft.com/azure/machine-learning/reference-automl-images-schema; boxes are objects."""
    value = entry.get("label")
    found = value if isinstance(value, list) else [value]
    whole = [one for one in found if not isinstance(one, dict)]
    shapes = [one.get("label") for one in objects(found)]
    return Annotation(
        text(entry["image_url"]),
        labeled(whole),
        num_shapes=len(shapes),
        objects=class_names_of(shapes),
        empty="negative" if isinstance(value, list) else "unlabeled",
    )


def _label_box(entry: dict[str, Any]) -> Annotation:
    """Source: docs.labelbox.com, export of image annotations: answers of radio buttons and of checklists."""
    row = mapping(entry.get("data_row"))
    name = text(row.get("external_id"))
    image = name if is_image_name(name) else text(row.get("row_data")) or name
    answers: list[list[tuple[str, str]]] = []
    shapes: list[dict[str, Any]] = []
    for project in mapping(entry.get("projects")).values():
        for label in objects(mapping(project).get("labels")):
            found = mapping(label.get("annotations"))
            shapes += objects(found.get("objects"))
            labels: list[tuple[str, str]] = []
            for answer in objects(found.get("classifications")):
                chosen = [mapping(answer.get("radio_answer")), *objects(answer.get("checklist_answers"))]
                labels += labeled((one.get("name", one.get("value")) for one in chosen), text(answer.get("name")))
            answers.append(labels)
    return Annotation(
        image,
        tuple(dict.fromkeys(label for labels in answers for label in labels)),
        num_shapes=len(shapes),
        objects=class_names_of(one.get("name") for one in shapes),
        empty="negative" if answers else "unlabeled",
        is_agreed=len({frozenset(labels) for labels in answers}) < 2,
    )


def _prodigy(entry: dict[str, Any]) -> Annotation:
    """Source: prodi.gy/docs/api-interfaces: ``choice`` and ``classification``; what was not accepted has no label."""
    image = text(mapping(entry.get("meta")).get("file")) or text(entry.get("path")) or text(entry.get("image"))
    if entry.get("answer") != "accept":
        return Annotation(image, empty="unlabeled")
    names = {str(one.get("id")): one.get("text") or one.get("id") for one in objects(entry.get("options"))}
    chosen = listed(entry["accept"]) if "accept" in entry else [entry.get("label")]
    spans = listed(entry.get("spans"))
    return Annotation(
        image,
        labeled(names.get(str(one), one) for one in chosen),
        num_shapes=len(spans),
        objects=class_names_of(one.get("label") for one in objects(spans)),
        empty="negative" if "accept" in entry else "unclear",
    )


def _labelme(entry: dict[str, Any]) -> Annotation:
    """Source: github.com/wkentaro/labelme, examples/classification; ``__ignore__`` marks an image without a class."""
    flags = mapping(entry.get("flags"))
    on = [name for name, value in flags.items() if value is True]
    shapes = listed(entry.get("shapes"))
    return Annotation(
        text(entry["imagePath"]),
        () if "__ignore__" in on else labeled(on),
        num_shapes=len(shapes),
        objects=class_names_of(one.get("label") for one in objects(shapes)),
        empty="unlabeled" if "__ignore__" in on else "negative" if flags else "unclear",
    )


def _darwin(entry: dict[str, Any]) -> Annotation:
    """Source: docs.v7labs.com/reference/darwin-json: annotations with ``tag`` belong to the whole image."""
    item = mapping(entry["item"])
    found = list(objects(entry.get("annotations")))
    tags = [one.get("name") for one in found if "tag" in one]
    shapes = [one.get("name") for one in found if "tag" not in one]
    return Annotation(text(item.get("name")), labeled(tags), num_shapes=len(shapes), objects=class_names_of(shapes))


def _supervisely(entry: dict[str, Any]) -> Annotation:
    """Source: developer.supervisely.com/getting-started/supervisely-annotation-format/images."""
    labels: list[tuple[str, str]] = []
    for tag in objects(entry.get("tags")):
        name = text(tag.get("name"))
        labels += labeled([name]) if tag.get("value") is None else labeled([tag["value"]], name)
    shapes = listed(entry.get("objects"))
    names = class_names_of(one.get("classTitle") for one in objects(shapes))
    return Annotation(text(entry.get("name")), tuple(labels), num_shapes=len(shapes), objects=names)


def _doccano(entry: dict[str, Any]) -> Annotation:
    """Source: doccano's export of image classification: ``{"filename": "a.jpg", "label": ["cat"]}``."""
    return Annotation(text(entry["filename"]), labeled(listed(entry["label"])), split_text(entry.get("split")))


OBJECT_FORMATS: tuple[ObjectFormat, ...] = (
    ObjectFormat(
        "Label Studio export",
        lambda one: isinstance(one.get("data"), dict) and ("annotations" in one or "completions" in one),
        _label_studio,
    ),
    ObjectFormat("Label Studio export", is_label_studio_row, label_studio_row, "image"),
    ObjectFormat("Vertex AI import file", lambda one: "imageGcsUri" in one, _vertex, "imageGcsUri"),
    ObjectFormat("SageMaker manifest", lambda one: "source-ref" in one, _sage_maker, "source-ref"),
    ObjectFormat("Azure ML annotations", lambda one: "image_url" in one and "label" in one, _azure_ml, "image_url"),
    ObjectFormat(
        "Labelbox export", lambda one: isinstance(one.get("data_row"), dict) and "projects" in one, _label_box
    ),
    ObjectFormat(
        "Prodigy annotations", lambda one: "image" in one and "answer" in one and "_task_hash" in one, _prodigy, "image"
    ),
    ObjectFormat(
        "labelme annotations",
        lambda one: {"imagePath", "flags", "shapes"} <= one.keys(),
        _labelme,
        "imagePath",
        "flags",
    ),
    ObjectFormat("Darwin JSON", lambda one: isinstance(one.get("item"), dict) and "annotations" in one, _darwin),
    ObjectFormat(
        "Supervisely annotations",
        lambda one: isinstance(one.get("tags"), list) and isinstance(one.get("objects"), list) and "size" in one,
        _supervisely,
    ),
    ObjectFormat(
        "Create ML annotations",
        lambda one: (
            isinstance(one.get("annotations", one.get("annotation")), list)
            and any(is_image_name(text(one.get(key))) for key in ("filename", "image", "imagefilename"))
        ),
        _create_ml,
    ),
    ObjectFormat(
        "doccano export",
        lambda one: isinstance(one.get("label"), list) and is_image_name(text(one.get("filename"))),
        _doccano,
        "filename",
    ),
)
