"""What an exported file says about itself, as texts by name. No torch, no onnx."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from resnet_cli.errors import ModelError
from resnet_cli.exported.checksums import DIGEST, FILES, check_files, checksums, digest
from resnet_cli.model.label_reliability import RESULTS, LabelScaling, label_metadata
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.task import TaskName

#: Task -> version of the texts below; a new one where an older reader would misread them.
SCHEMA_VERSIONS: Mapping[TaskName, str] = {"single-label": "1", "multi-label": "2"}
#: The texts, as a JSON file beside the files of a folder and inside a ``.pt2``.
METADATA_FILE = "resnet_cli.json"
#: What helps if a file is damaged.
EXPORT_AGAIN = "export the model again: resnet-cli export RUN"
#: Names of the graph's inputs and outputs; they are in existing files.
RAW_IMAGES, PIXELS, IMAGES, PROBS, NOVELTY, HEATMAP = "pictures", "pixels", "images", "probs", "novelty", "heat"
#: The outputs in the order in which files have them; a file computes the first, and may compute the others.
OUTPUTS = (PROBS, NOVELTY, HEATMAP)
#: What metadata may say that a file computes.
_OUTPUT_LISTS = ((), (PROBS,), (PROBS, NOVELTY), (PROBS, HEATMAP), OUTPUTS)
#: ``picture``: decoded images, uint8 [b x h x w x 3] RGB, upright, of any size; ``pixels``: what ``Preprocess`` makes
#: of them, uint8 [b x 3 x s x s]; ``squares``: the same as phones have them, uint8 [b x s x s x 3]; ``float_pixels``:
#: the values of ``pixels`` as float32, which is what the image functions of ncnn and MNN make; ``tensor``: the
#: network's own input, float32 [b x 3 x s x s], normalized.
InputKind: TypeAlias = Literal["picture", "pixels", "squares", "float_pixels", "tensor"]
#: The precision in which weights are stored.
FilePrecision: TypeAlias = Literal["fp32", "fp16", "int8"]
#: Task -> types of the arrays of its validation results, in files.
_DTYPES: Mapping[TaskName, Mapping[str, str]] = {
    "single-label": {"confidence": "<f4", "is_right": "?", "novelty": "<f4"},
    "multi-label": {"probs": "<f4", "targets": "<i1", "novelty": "<f4"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportMetadata:
    """The metadata of an exported file.

    Attributes:
        classes: Class names in index order.
        preprocess: What :meth:`resnet_cli.preprocess.Preprocess.to_dict` returns.
        temperature: What logits are divided by; the graph does so already.
        input_kind: What the graph takes as its input.
        precision: The precision in which weights are stored.
        provenance: Where the model comes from, as in the model file.
        licence: License of the weights, in words.
        source_sha256: SHA-256 of the model file that this was made from; empty if that was in no file.
        version: Version of the program that wrote it.
        reliability: The model's results on its validation split; None for weights of other programs.
        most_novel: The limit that follows from them, for other programs: an image whose output ``novelty`` is above it
            is unlike the training images. None for a file without that output.
        task: Whether an image has one label or any number.
        thresholds: The least probability at which each class is predicted, [k]; multi-label only.
        scaling: The scale and shift of each class's logits that the graph contains; None if there are none.
        outputs: Names of what the file computes; empty for files of versions that did not say.
        files: Of a folder: path of each file that computes -> its SHA-256; empty for folders of version 0.1.0.
    """

    classes: tuple[str, ...]
    preprocess: Mapping[str, Any]
    temperature: float
    input_kind: InputKind
    precision: FilePrecision
    provenance: Mapping[str, Any]
    licence: str
    source_sha256: str
    version: str
    reliability: ValidationResults | None = None
    most_novel: float | None = None
    task: TaskName = "single-label"
    thresholds: tuple[float, ...] = ()
    scaling: LabelScaling | None = None
    outputs: tuple[str, ...] = ()
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_texts(self) -> dict[str, str]:
        """The texts that the file holds: JSON where they are not plain words."""
        found = {
            "schema_version": SCHEMA_VERSIONS[self.task],
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "preprocess": json.dumps(dict(self.preprocess)),
            "temperature": repr(self.temperature),
            "takes": self.input_kind,
            "number": self.precision,
            "provenance": json.dumps(dict(self.provenance), ensure_ascii=False),
            "licence": self.licence,
            "source_sha256": self.source_sha256,
            "resnet_cli_version": self.version,
        }
        if self.outputs:
            found["outputs"] = json.dumps(self.outputs)
        if self.reliability is not None:
            found["reliability"] = json.dumps(_packed(self.reliability, self.task))
        if self.most_novel is not None:
            found["most_novel"] = repr(self.most_novel)
        if self.task == "multi-label":
            scaling = None if self.scaling is None else self.scaling._asdict()
            found |= {"task": self.task, "thresholds": json.dumps(self.thresholds), "scaling": json.dumps(scaling)}
        if self.files:
            found[FILES] = json.dumps(dict(self.files))
        return found | {DIGEST: digest(found)}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], path: str) -> ExportMetadata:
        """Reads the texts of a file whose producer is this program.

        Args:
            texts: The texts by name.
            path: The file, for error messages.

        Raises:
            ModelError: A text is missing, invalid, or not what the export wrote.
        """
        version = texts.get("schema_version")
        task = next((task for task, known in SCHEMA_VERSIONS.items() if known == version), None)
        if task is None:
            raise ModelError(
                f"{path}: its schema version is {str(version)[:20]}, and this program reads "
                f"{' and '.join(SCHEMA_VERSIONS.values())}",
                hint=f"update resnet-cli, or {EXPORT_AGAIN}",
            )
        try:
            made = cls(
                classes=tuple(json.loads(texts["classes"])),
                preprocess=json.loads(texts["preprocess"]),
                temperature=float(texts["temperature"]),
                input_kind=texts["takes"],  # type: ignore[arg-type]
                precision=texts["number"],  # type: ignore[arg-type]
                provenance=json.loads(texts["provenance"]),
                licence=texts["licence"],
                source_sha256=texts["source_sha256"],
                version=texts["resnet_cli_version"],
                reliability=_unpacked(texts.get("reliability"), task),
                most_novel=float(texts["most_novel"]) if "most_novel" in texts else None,
                outputs=tuple(json.loads(texts.get("outputs", "[]"))),
                files=json.loads(texts.get(FILES, "{}")),
                **_of_labels(texts, task),
            )
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:80]
            raise ModelError(f"{path}: damaged metadata: {what}") from error
        if not made._is_valid():
            raise ModelError(f"{path}: damaged metadata: impossible values")
        if (DIGEST in texts or made.files) and texts.get(DIGEST) != digest(texts):
            raise ModelError(f"{path}: its metadata were changed after the export, and would give other answers")
        return made

    @classmethod
    def read(cls, folder: Path) -> ExportMetadata:
        """Reads the JSON file beside the files of a folder.

        Raises:
            ModelError: It is damaged.
        """
        path = folder / METADATA_FILE
        try:
            texts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            reason = (error.strerror or error) if isinstance(error, OSError) else "it is not JSON"
            raise ModelError(f"{path}: cannot be read: {reason}") from error
        if not isinstance(texts, dict):
            raise ModelError(f"{path}: not the metadata of an exported model")
        return cls.from_texts(texts, str(path))

    def check_files(self, folder: Path) -> None:
        """Compares the files of a folder with what the export wrote; it takes 0.06 s for 94 MB.

        Raises:
            ModelError: They differ, or one is missing.
        """
        check_files(folder, self.files)

    def write(self, folder: Path, files: Iterable[str] = ()) -> None:
        """Writes the JSON file beside the files of a folder.

        Args:
            folder: The folder.
            files: Names of the files in it that compute, whose SHA-256 are written too.
        """
        texts = dataclasses.replace(self, files=checksums(folder, files)).to_texts()
        text = json.dumps(texts, indent=2, ensure_ascii=False)
        (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")

    def _is_valid(self) -> bool:
        return (
            0 < len(self.classes) == len(set(self.classes))
            and all(isinstance(name, str) for name in self.classes)
            and isinstance(self.preprocess, dict)
            and isinstance(self.provenance, dict)
            and 0 < self.temperature < 1e6
            and self.input_kind in get_args(InputKind)
            and self.precision in get_args(FilePrecision)
            and self.outputs in _OUTPUT_LISTS
            and isinstance(self.files, dict)
            and all(isinstance(value, str) for value in self.files.values())
            and (self.reliability is None or self.reliability.is_sound(len(self.classes)))
        )


def _of_labels(texts: Mapping[str, str], task: TaskName) -> dict[str, Any]:
    """The fields that only multi-label files have."""
    if task == "single-label":
        return {}
    values: dict[str, Any] = {"task": texts["task"]}
    values |= {name: json.loads(texts[name]) for name in ("thresholds", "scaling")}
    for name, is_sound in label_metadata(len(json.loads(texts["classes"]))).items():
        if not is_sound(values[name]):
            raise ValueError(f"impossible {name}")
    scaling = values["scaling"]
    return {
        "task": task,
        "thresholds": tuple(values["thresholds"]),
        "scaling": None if scaling is None else LabelScaling(tuple(scaling["scale"]), tuple(scaling["shift"])),
    }


def _packed(reliability: ValidationResults, task: TaskName) -> dict[str, str]:
    """Arrays as base64: 12 bytes per image of a single-label model, a third of what decimal numbers take."""
    arrays = reliability.arrays()
    return {
        name: base64.b64encode(arrays[name].astype(dtype).tobytes()).decode() for name, dtype in _DTYPES[task].items()
    }


def _unpacked(text: str | None, task: TaskName) -> ValidationResults | None:
    if text is None:
        return None
    values = json.loads(text)
    try:
        arrays = {
            name: np.frombuffer(base64.b64decode(values[name], validate=True), dtype=dtype)
            for name, dtype in _DTYPES[task].items()
        }
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return RESULTS[task].from_flat(
        {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}
    )
