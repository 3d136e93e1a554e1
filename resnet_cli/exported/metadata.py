"""What an exported file says about itself, as texts by name. No torch, no onnx."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from resnet_cli.errors import ModelError
from resnet_cli.model.reliability import Reliability

#: Name of the program in the file; what tells our files from others.
PRODUCER = "resnet-cli"
#: Version of the texts below; raised when an old reader would misread them.
SCHEMA_VERSION = 1
#: Names of the graph's inputs and outputs.
RAW_IMAGES, PIXELS, IMAGES, PROBS, NOVELTY, HEAT = "pictures", "pixels", "images", "probs", "novelty", "heat"
#: ``image``: decoded images, uint8 [b x h x w x 3] RGB, upright, of any size; ``pixels``: what ``Preprocess`` makes
#: of them, uint8 [b x 3 x s x s]; ``tensor``: the network's own input, float32 [b x 3 x s x s], normalised.
Input: TypeAlias = Literal["picture", "pixels", "tensor"]
#: How the numbers are kept.
Number: TypeAlias = Literal["fp32", "fp16", "int8"]
_DTYPES = {"confidence": "<f4", "is_right": "?", "novelty": "<f4"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """What travels in the metadata of an exported file.

    Attributes:
        classes: Names in index order.
        preprocess: What :meth:`resnet_cli.preprocess.Preprocess.to_dict` gives.
        temperature: Logits are divided by it; the graph does so already.
        takes: What the graph's input is.
        number: How weights are kept.
        provenance: As in the model file.
        licence: Of the weights, in words.
        source_sha256: Of the model file that this was made from; empty where it was in no file.
        version: Of the program that wrote it.
        reliability: How the model answered its validation split; None for weights that are not ours.
    """

    classes: tuple[str, ...]
    preprocess: Mapping[str, Any]
    temperature: float
    takes: Input
    number: Number
    provenance: Mapping[str, Any]
    licence: str
    source_sha256: str
    version: str
    reliability: Reliability | None = None

    def to_texts(self) -> dict[str, str]:
        """The texts, as the file holds them: JSON where they are not plain words."""
        found = {
            "schema_version": str(SCHEMA_VERSION),
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "preprocess": json.dumps(dict(self.preprocess)),
            "temperature": repr(self.temperature),
            "takes": self.takes,
            "number": self.number,
            "provenance": json.dumps(dict(self.provenance), ensure_ascii=False),
            "licence": self.licence,
            "source_sha256": self.source_sha256,
            "resnet_cli_version": self.version,
        }
        if self.reliability is not None:
            found["reliability"] = json.dumps(_packed(self.reliability))
        return found

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], path: str) -> About:
        """Reads the texts of a file that names us as its producer.

        Args:
            texts: Of the file.
            path: Named in errors.

        Raises:
            ModelError: A text is missing or cannot be what we wrote.
        """
        version = texts.get("schema_version")
        if version != str(SCHEMA_VERSION):
            raise ModelError(
                f"{path}: schema version {str(version)[:20]}, this program reads {SCHEMA_VERSION}", hint="update one"
            )
        try:
            made = cls(
                classes=tuple(json.loads(texts["classes"])),
                preprocess=json.loads(texts["preprocess"]),
                temperature=float(texts["temperature"]),
                takes=texts["takes"],  # type: ignore[arg-type]
                number=texts["number"],  # type: ignore[arg-type]
                provenance=json.loads(texts["provenance"]),
                licence=texts["licence"],
                source_sha256=texts["source_sha256"],
                version=texts["resnet_cli_version"],
                reliability=_unpacked(texts.get("reliability")),
            )
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"{path}: damaged metadata: {type(error).__name__} {str(error)[:80]}") from error
        if not made._is_sound():
            raise ModelError(f"{path}: damaged metadata: values that cannot be")
        return made

    def _is_sound(self) -> bool:
        return (
            0 < len(self.classes) == len(set(self.classes))
            and all(isinstance(name, str) for name in self.classes)
            and isinstance(self.preprocess, dict)
            and isinstance(self.provenance, dict)
            and 0 < self.temperature < 1e6
            and self.takes in get_args(Input)
            and self.number in get_args(Number)
            and (self.reliability is None or self.reliability.is_sound())
        )


def _packed(reliability: Reliability) -> dict[str, str]:
    """Arrays as base64: 12 bytes an image, a third of what decimal numbers take."""
    return {
        name: base64.b64encode(getattr(reliability, name).astype(dtype).tobytes()).decode()
        for name, dtype in _DTYPES.items()
    }


def _unpacked(text: str | None) -> Reliability | None:
    if text is None:
        return None
    values = json.loads(text)
    try:
        arrays = {
            name: np.frombuffer(base64.b64decode(values[name], validate=True), dtype=dtype)
            for name, dtype in _DTYPES.items()
        }
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    return Reliability(
        confidence=arrays["confidence"].astype(np.float32),
        is_right=arrays["is_right"].astype(np.bool_),
        novelty=arrays["novelty"].astype(np.float32),
    )
