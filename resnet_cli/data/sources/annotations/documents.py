"""Annotation formats in which one JSON object describes all images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_cli.data.sources.annotations.items import (
    Annotation,
    Empty,
    Malformed,
    class_names_of,
    class_text,
    labeled,
    listed,
    mapping,
    objects,
    split_text,
    text,
)
from resnet_cli.data.sources.folder_names import is_for_images
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.images import is_image_name

IMAGE_MAP = "map of images to classes"


@dataclass(frozen=True)
class DocumentFormat:
    """A format with all images in one JSON object.

    Attributes:
        name: Name of the format, for the user.
        matches: Whether a document is in this format.
        read: Yields what the document says about each image.
        folder: Folder beside the file in which the format stores its images; empty if it is the file's own.
        container: Key of the attributes, which ``--label-column`` may name.
    """

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], Iterator[Annotation]]
    folder: str = ""
    container: str = ""


def _is_coco(document: dict[str, Any]) -> bool:
    # Captions have no categories, and the file of an unlabeled test set has no annotations.
    keys = ("images", "annotations", "categories")
    return all(isinstance(document.get(key), list) for key in keys) and bool(document["annotations"])


def _coco(document: dict[str, Any]) -> Iterator[Annotation]:
    """The categories of each image.

    Source: cocodataset.org/#format-data; iNaturalist and camera traps use it for classes of whole images. In LVIS
    (lvisdataset.org), images name the categories that they certainly do not show; the others are unknown.
    """
    names = {key: class_text(one.get("name", key)) for key, one in _by_id(document["categories"], "category_id")}
    labels: dict[Any, list[str]] = defaultdict(list)
    shaped: dict[Any, list[str]] = defaultdict(list)
    num_shapes: Counter[Any] = Counter()
    used = set()
    for one in objects(document["annotations"]):
        image, category = one.get("image_id"), one.get("category_id")
        if not isinstance(image, str | int) or category is None:
            continue
        if not isinstance(category, str | int) or category not in names:
            raise Malformed(f"image {image} has the category {ascii(category)[:60]}, which is not in 'categories'")
        used.add(category)
        labels[image].append(names[category])
        is_shape = bool(one.get("bbox") or one.get("segmentation"))
        num_shapes[image] += is_shape
        if is_shape:
            shaped[image].append(names[category])
    name, count = Counter(names[category] for category in used).most_common(1)[0] if used else ("", 0)
    if count > 1:
        raise Malformed(f"{count} categories are called '{name}'")
    for key, one in _by_id(document["images"], "image_id"):
        split = split_text(one.get("split"))
        objects_of = class_names_of(shaped.get(key, ()))
        found = labeled(labels.get(key, ()))
        unknown: tuple[str, ...] = ()
        if isinstance(one.get("neg_category_ids"), list):
            denied = [category for category in one["neg_category_ids"] if isinstance(category, str | int)]
            shown = {name for _, name in found}.union(names.get(category, "") for category in denied)
            unknown = tuple(sorted({names[category] for category in used} - shown))
        yield Annotation(
            text(one.get("file_name")), found, split, num_shapes[key], one, objects_of, unknown, empty="negative"
        )


def _by_id(values: Any, name: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Objects with their ID, which some data sets (Herbarium 2022) name as annotations do."""
    pairs = ((one.get("id", one.get(name)), one) for one in objects(values))
    return (pair for pair in pairs if isinstance(pair[0], str | int))


def _is_fiftyone(document: dict[str, Any]) -> bool:
    return "classes" in document and isinstance(document.get("labels"), dict)


def _fiftyone(document: dict[str, Any]) -> Iterator[Annotation]:
    """Source: docs.voxel51.com/user_guide/export_datasets.html, FiftyOneImageClassificationDataset."""
    classes = listed(document["classes"])
    for name, value in document["labels"].items():
        # With confidences, each target is an object.
        values = [mapping(one).get("label", one) for one in (value if isinstance(value, list) else [value])]
        yield Annotation(name, labeled(_by_index(one, classes) for one in values), empty=_if_empty(value))


def _if_empty(value: Any) -> Empty:
    """What a value without labels means: an empty list is an answer, and null is not."""
    return "negative" if isinstance(value, list) else "unlabeled"


def _by_index(value: Any, classes: Sequence[Any]) -> Any:
    if not classes or not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 0 <= value < len(classes):
        raise Malformed(f"the label {value} is not one of the {len(classes)} classes that the file names")
    return classes[value]


def _is_fiftyone_samples(document: dict[str, Any]) -> bool:
    return any("filepath" in one for one in _first(document.get("samples")))


def _fiftyone_samples(document: dict[str, Any]) -> Iterator[Annotation]:
    """Source: docs.voxel51.com/user_guide/export_datasets.html, FiftyOneDataset: each field is an attribute."""
    for sample in objects(document["samples"]):
        labels: list[tuple[str, str]] = []
        num_shapes = 0
        empty: Empty = "unlabeled"
        for field, value in sample.items():
            kind = mapping(value).get("_cls")
            if kind == "Classification":
                labels += labeled([value.get("label")], field)
            elif kind == "Classifications":
                labels += labeled((one.get("label") for one in objects(value.get("classifications"))), field)
                empty = "negative"
            elif kind in ("Detections", "Polylines", "Keypoints", "Segmentation"):
                num_shapes += 1
        splits = {split for tag in listed(sample.get("tags")) if (split := split_text(tag))}
        split = splits.pop() if len(splits) == 1 else ""
        yield Annotation(text(sample.get("filepath")), tuple(labels), split, num_shapes, empty=empty)


def _via_entries(document: dict[str, Any]) -> dict[str, Any]:
    return mapping(document.get("_via_img_metadata", document))


def _is_via(document: dict[str, Any]) -> bool:
    return any({"filename", "file_attributes"} <= one.keys() for one in _first([*_via_entries(document).values()][:1]))


def _via(document: dict[str, Any]) -> Iterator[Annotation]:
    """Source: robots.ox.ac.uk/~vgg/software/via, version 2: annotations and projects."""
    return (via_entry(one) for one in objects([*_via_entries(document).values()]))


def via_entry(entry: dict[str, Any]) -> Annotation:
    """One file of VIA: each file attribute is an attribute; check boxes are objects of true values."""
    labels: list[tuple[str, str]] = []
    for attribute, value in mapping(entry.get("file_attributes")).items():
        chosen = [name for name, on in value.items() if on] if isinstance(value, dict) else [value]
        labels += labeled(chosen, attribute)
    return Annotation(text(entry.get("filename")), tuple(labels), num_shapes=len(listed(entry.get("regions"))))


def _is_style_gan(document: dict[str, Any]) -> bool:
    labels = document.get("labels")
    if isinstance(labels, dict):
        return "classes" not in document and any(map(is_image_name, list(labels)[:1]))
    return any(isinstance(one, list) and len(one) == 2 and is_image_name(text(one[0])) for one in listed(labels)[:1])


def _style_gan(document: dict[str, Any]) -> Iterator[Annotation]:
    """Source: github.com/NVlabs/stylegan3, dataset_tool.py: ``{"labels": [["00000/img00000000.png", 6], ...]}``."""
    labels = document["labels"]
    pairs = labels.items() if isinstance(labels, dict) else (one for one in labels if isinstance(one, list))
    for pair in pairs:
        if len(pair) != 2:
            raise Malformed(f"{ascii(pair)[:60]} is not a pair of a path and a label")
        yield Annotation(text(pair[0]), labeled([pair[1]]))


def _is_cvat_classification(document: dict[str, Any]) -> bool:
    return any({"path", "labels"} <= one.keys() for one in _first([*document.values()][:1]))


def _cvat_classification(document: dict[str, Any]) -> Iterator[Annotation]:
    """Source: docs.cvat.ai, format Ultralytics YOLO Classification: labels.json."""
    return (
        Annotation(text(one.get("path")), labeled(listed(one.get("labels")))) for one in objects([*document.values()])
    )


def _is_datumaro(document: dict[str, Any]) -> bool:
    return isinstance(document.get("items"), list) and isinstance(
        mapping(document.get("categories")).get("label"), dict
    )


def _datumaro(document: dict[str, Any]) -> Iterator[Annotation]:
    """Source: open-edge-platform.github.io/datumaro, Datumaro format: annotations of the type ``label``."""
    classes = [one.get("name") for one in objects(document["categories"]["label"].get("labels"))]
    for item in objects(document["items"]):
        media = mapping(item.get("image", item.get("media")))
        found = list(objects(item.get("annotations")))
        ids = [one.get("label_id") for one in found if one.get("type") == "label"]
        labels = labeled(_by_index(one, classes) for one in ids)
        shapes = [one.get("label_id") for one in found if one.get("type") != "label"]
        yield Annotation(
            text(media.get("path")) or text(item.get("id")),
            labels,
            num_shapes=len(shapes),
            objects=class_names_of(_by_index(one, classes) for one in shapes if one is not None),
        )


def _is_map(document: dict[str, Any]) -> bool:
    return any(map(is_image_name, list(document)[:1])) and not isinstance(next(iter(document.values())), dict)


def _map(document: dict[str, Any]) -> Iterator[Annotation]:
    for image, value in document.items():
        yield Annotation(image, labeled(value if isinstance(value, list) else [value]), empty=_if_empty(value))


def _is_class_map(document: dict[str, Any]) -> bool:
    values = [*document.values()]
    # In a table by columns, only one column has names of images.
    heads = [value[0] for value in values if isinstance(value, list) and value]
    are_images = bool(heads) and all(is_image_name(text(one)) for one in heads)
    # `{"images": [...]}` and `{"train_images": [...], "test_images": [...]}` name no classes.
    are_classes = len(document) > 1 and not all(map(is_for_images, document))
    return are_images and are_classes and all(isinstance(value, list) for value in values)


def _class_map(document: dict[str, Any]) -> Iterator[Annotation]:
    for label, images in document.items():
        yield from (Annotation(text(image), labeled([label])) for image in images)


def _is_split_lists(document: dict[str, Any]) -> bool:
    if not _names_splits(document):
        return False
    heads = [value[0] for value in document.values() if isinstance(value, list) and value][:1]
    return any(is_image_name(text(one[0] if isinstance(one, list) and len(one) in (2, 3) else one)) for one in heads)


def _names_splits(document: dict[str, Any]) -> bool:
    return all(name.lower() in SPLIT_NAMES for name in document)


def _split_lists(document: dict[str, Any]) -> Iterator[Annotation]:
    """Lists per split; a path alone has the class that its folder denotes.

    Source: github.com/KaiyangZhou/CoOp, split_zhou_*.json: lists of path, number and name of the class.
    """
    for split, items in document.items():
        for item in listed(items):
            if isinstance(item, str):
                folder = item.replace("\\", "/").rpartition("/")[0].rpartition("/")[2]
                yield Annotation(item, () if is_for_images(folder) else labeled([folder]), split)
            elif isinstance(item, list) and len(item) in (2, 3):
                yield Annotation(text(item[0]), labeled([item[-1]]), split)
            else:
                raise Malformed(f"{ascii(item)[:60]} is not a list of a path and a label")


def _first(values: Any) -> list[dict[str, Any]]:
    return list(objects(listed(values)[:1]))


DOCUMENT_FORMATS: tuple[DocumentFormat, ...] = (
    DocumentFormat("COCO annotations", _is_coco, _coco),
    DocumentFormat("FiftyOne labels", _is_fiftyone, _fiftyone, folder="data"),
    DocumentFormat("FiftyOne data set", _is_fiftyone_samples, _fiftyone_samples),
    DocumentFormat("VIA annotations", _is_via, _via, container="file_attributes"),
    DocumentFormat("StyleGAN labels", _is_style_gan, _style_gan),
    DocumentFormat("CVAT labels", _is_cvat_classification, _cvat_classification),
    DocumentFormat("Datumaro annotations", _is_datumaro, _datumaro),
    DocumentFormat(IMAGE_MAP, _is_map, _map),
    DocumentFormat("map of classes to images", _is_class_map, _class_map),
    DocumentFormat("lists of images per split", _is_split_lists, _split_lists),
)
