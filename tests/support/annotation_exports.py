"""Small data sets as labeling tools and cloud services export them: images, and one file that labels them."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

#: Image -> class; an empty class is an image that nobody has labeled.
Labels: TypeAlias = Mapping[str, str]
#: Writes a data set into a folder and returns the file that labels it.
Export: TypeAlias = Callable[[Path, Labels], Path]

LABELS = {"a1.jpg": "cat", "a2.jpg": "hot dog", "b1.jpg": "cat", "b2.jpg": "hot dog", "grün.jpg": "Käfer"}


def put_image(path: Path) -> None:
    """Writes an image whose pixels depend on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (sum(path.name.encode()) % 256, len(path.name), 0)).save(path)


def put_images(folder: Path, labels: Labels) -> None:
    """Writes one image per name."""
    for name in labels:
        put_image(folder / name)


def written(path: Path, content: Any) -> Path:
    """Writes text as it is, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def lines(path: Path, objects: list[Any]) -> Path:
    """Writes JSON lines."""
    return written(path, "".join(json.dumps(one) + "\n" for one in objects))


def coco(folder: Path, labels: Labels, file: str = "annotations/instances.json", images: str = "images") -> Path:
    put_images(folder / images, labels)
    names = sorted(set(labels.values()) - {""})
    return written(
        folder / file,
        {
            "info": {"year": 2026},
            "annotations": [
                {"id": 50 + number, "image_id": number, "category_id": 10 + names.index(label)}
                for number, label in enumerate(labels.values())
                if label
            ],
            "images": [{"id": number, "file_name": name, "width": 8} for number, name in enumerate(labels)],
            "categories": [{"id": 10 + number, "name": name} for number, name in enumerate(names)],
        },
    )


def label_studio_task(image: str, *choices: str, control: str = "choice", **fields: Any) -> dict[str, Any]:
    result = {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    annotation = {"id": 1, "was_cancelled": False, "result": [result] if choices else [], **fields}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation], "predictions": []}


def label_studio(folder: Path, labels: Labels) -> Path:
    put_images(folder / "upload", {f"0123abcd-{name}": "" for name in labels})
    tasks = [
        label_studio_task(f"/data/upload/1/0123abcd-{name}", *([label] if label else []))
        for name, label in labels.items()
    ]
    return written(folder / "project-1-at-2026-01-01.json", tasks)


def label_studio_minimal(folder: Path, labels: Labels) -> Path:
    put_images(folder / "upload", {f"0123abcd-{name}": "" for name in labels})
    rows = [
        {
            "id": number,
            "image": f"/data/upload/1/0123abcd-{name}",
            "choice": label,
            "annotator": 1,
            "annotation_id": 7,
            "lead_time": 2.5,
        }
        for number, (name, label) in enumerate(labels.items())
    ]
    return written(folder / "result.json", rows)


def label_studio_table(folder: Path, labels: Labels, delimiter: str = ",") -> Path:
    put_images(folder / "upload", {f"0123abcd-{name}": "" for name in labels})
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter)
    table.writerow(["image", "id", "animal", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"])
    table.writerows(
        [f"/data/upload/1/0123abcd-{name}", number, label, 1, 7, "2026-01-01", "2026-01-01", 2.5]
        for number, (name, label) in enumerate(labels.items())
    )
    return written(folder / f"result.{'csv' if delimiter == ',' else 'tsv'}", text.getvalue())


def list_of_objects(folder: Path, labels: Labels) -> Path:
    put_images(folder / "images", labels)
    return written(folder / "l.json", [{"image": f"images/{name}", "label": label} for name, label in labels.items()])


def map_of_images(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    return written(folder / "map.json", dict(labels))


def map_of_objects(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    return written(folder / "map.json", {name: {"width": 8, "label": label} for name, label in labels.items()})


def map_of_classes(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    classes = {label: [name for name in labels if labels[name] == label] for label in labels.values()}
    return written(folder / "classes.json", classes)


def columns(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    return written(folder / "frame.json", {"filename": [*labels], "label": [*labels.values()]})


def wrapped_list(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    rows = [{"file_name": name, "category": label} for name, label in labels.items()]
    return written(folder / "data.json", {"version": 1, "data": rows})


def split_lists(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    return written(folder / "split.json", {"train": [[name, 0, label] for name, label in labels.items()]})


def fiftyone(folder: Path, labels: Labels) -> Path:
    put_images(folder / "data", labels)
    classes = sorted(set(labels.values()) - {""})
    indices = {Path(name).stem: classes.index(label) if label else None for name, label in labels.items()}
    return written(folder / "labels.json", {"classes": classes, "labels": indices})


def fiftyone_samples(folder: Path, labels: Labels) -> Path:
    put_images(folder / "data", labels)
    samples = [
        {
            "_id": {"$oid": "0"},
            "filepath": f"data/{name}",
            "tags": ["reviewed"],
            "ground_truth": {"_cls": "Classification", "label": label} if label else None,
        }
        for name, label in labels.items()
    ]
    return written(folder / "samples.json", {"samples": samples})


def via_json(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    entries = {
        f"{name}99": {"filename": name, "size": 99, "regions": [], "file_attributes": {"class": label}}
        for name, label in labels.items()
    }
    return written(folder / "via_project.json", {"_via_settings": {}, "_via_img_metadata": entries})


def via_csv(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["filename", "file_size", "file_attributes", "region_count", "region_id", "region_attributes"])
    table.writerows([name, 99, json.dumps({"class": label}), 0, 0, "{}"] for name, label in labels.items())
    return written(folder / "via_csv.csv", text.getvalue())


def create_ml(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    entries = [{"filename": name, "annotations": [label] if label else []} for name, label in labels.items()]
    return written(folder / "annotations.json", entries)


def style_gan(folder: Path, labels: Labels) -> Path:
    put_images(folder / "00000", labels)
    return written(folder / "dataset.json", {"labels": [[f"00000/{name}", label] for name, label in labels.items()]})


def cvat_labels(folder: Path, labels: Labels) -> Path:
    put_images(folder / "photos", labels)
    entries = {
        Path(name).stem: {"path": f"photos/{name}", "labels": [label] if label else []}
        for name, label in labels.items()
    }
    return written(folder / "labels.json", entries)


def cvat_xml(folder: Path, labels: Labels) -> Path:
    put_images(folder / "images", labels)
    images = "".join(
        f'<image id="{number}" name="{name}" width="8">' + (f'<tag label="{label}"/>' if label else "") + "</image>"
        for number, (name, label) in enumerate(labels.items())
    )
    return written(
        folder / "annotations.xml",
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{images}</annotations>',
    )


def datumaro(folder: Path, labels: Labels) -> Path:
    put_images(folder / "images" / "default", labels)
    classes = sorted(set(labels.values()) - {""})
    items = [
        {
            "id": Path(name).stem,
            "annotations": [{"type": "label", "label_id": classes.index(label)}] if label else [],
            "image": {"path": name},
        }
        for name, label in labels.items()
    ]
    categories = {"label": {"labels": [{"name": name, "parent": ""} for name in classes]}}
    return written(folder / "annotations" / "default.json", {"categories": categories, "items": items})


def vertex_lines(folder: Path, labels: Labels) -> Path:
    put_images(folder / "photos", labels)
    return lines(
        folder / "import.jsonl",
        [
            {"imageGcsUri": f"gs://bucket/photos/{name}", "classificationAnnotation": {"displayName": label}}
            for name, label in labels.items()
        ],
    )


def vertex_csv(folder: Path, labels: Labels) -> Path:
    put_images(folder / "photos", labels)
    return written(
        folder / "import.csv",
        "".join(f"UNASSIGNED,gs://bucket/photos/{name},{label}\n" for name, label in labels.items()),
    )


def sage_maker_manifest(folder: Path, labels: Labels) -> Path:
    put_images(folder / "photos", labels)
    classes = sorted(set(labels.values()) - {""})
    objects: list[dict[str, Any]] = []
    for name, label in labels.items():
        metadata = {"class-name": label, "confidence": 0.9, "type": "groundtruth/image-classification"}
        labeled = {"animal": classes.index(label), "animal-metadata": metadata} if label else {}
        objects.append({"source-ref": f"s3://bucket/photos/{name}", **labeled})
    return lines(folder / "output.manifest", objects)


def azure_ml(folder: Path, labels: Labels) -> Path:
    put_images(folder / "photos", labels)
    start = "azureml://subscriptions/s/datastores/d/paths/photos"
    return lines(
        folder / "annotations.jsonl",
        [{"image_url": f"{start}/{name}", "label": label} for name, label in labels.items()],
    )


def label_box(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    objects = []
    for name, label in labels.items():
        answers = [{"name": "animal", "radio_answer": {"name": label}}] if label else []
        annotations = {"objects": [], "classifications": answers}
        row = {"id": "c1", "external_id": name, "row_data": f"https://storage.example/{name}"}
        objects.append({"data_row": row, "projects": {"p": {"labels": [{"annotations": annotations}]}}})
    return lines(folder / "export.ndjson", objects)


def prodigy(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    options = [{"id": label, "text": label} for label in sorted(set(labels.values()) - {""})]
    return lines(
        folder / "prodigy.jsonl",
        [
            {
                "image": name,
                "options": options,
                "accept": [label],
                "answer": "accept" if label else "ignore",
                "_task_hash": 1,
            }
            for name, label in labels.items()
        ],
    )


def doccano(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    return lines(
        folder / "all.jsonl",
        [{"id": 1, "filename": name, "label": [label] if label else []} for name, label in labels.items()],
    )


def labelme(folder: Path, labels: Labels) -> Path:
    put_images(folder, labels)
    classes = sorted(set(labels.values()) - {""})
    for name, label in labels.items():
        flags = {"__ignore__": not label} | {one: one == label for one in classes}
        content: dict[str, Any] = {"version": "5.0", "flags": flags, "shapes": [], "imagePath": name, "imageData": None}
        written(folder / f"{Path(name).stem}.json", content)
    return folder


def supervisely(folder: Path, labels: Labels) -> Path:
    put_images(folder / "ds" / "img", labels)
    for name, label in labels.items():
        tags = [{"name": label, "value": None}] if label else []
        written(folder / "ds" / "ann" / f"{name}.json", {"tags": tags, "objects": [], "size": {"width": 8}})
    return folder


def darwin(folder: Path, labels: Labels) -> Path:
    put_images(folder / "images", labels)
    for name, label in labels.items():
        annotations = [{"name": label, "tag": {}}] if label else []
        content = {"version": "2.0", "item": {"name": name, "path": "/"}, "annotations": annotations}
        written(folder / "annotations" / f"{Path(name).stem}.json", content)
    return folder


#: Name of a format, as a test calls it -> its writer.
EXPORTS: dict[str, Export] = {
    "COCO annotations": coco,
    "Label Studio export": label_studio,
    "Label Studio JSON-MIN": label_studio_minimal,
    "Label Studio CSV": label_studio_table,
    "Label Studio TSV": functools.partial(label_studio_table, delimiter="\t"),
    "list of images": list_of_objects,
    "map of images": map_of_images,
    "map of images to objects": map_of_objects,
    "map of classes": map_of_classes,
    "columns": columns,
    "wrapped list": wrapped_list,
    "lists of images per split": split_lists,
    "FiftyOne labels": fiftyone,
    "FiftyOne data set": fiftyone_samples,
    "VIA annotations": via_json,
    "VIA CSV": via_csv,
    "Create ML annotations": create_ml,
    "StyleGAN labels": style_gan,
    "CVAT labels": cvat_labels,
    "CVAT annotations": cvat_xml,
    "Datumaro annotations": datumaro,
    "Vertex AI import file": vertex_lines,
    "Vertex AI CSV": vertex_csv,
    "SageMaker manifest": sage_maker_manifest,
    "Azure ML annotations": azure_ml,
    "Labelbox export": label_box,
    "Prodigy annotations": prodigy,
    "doccano export": doccano,
    "labelme annotations": labelme,
    "Supervisely annotations": supervisely,
    "Darwin JSON": darwin,
}
