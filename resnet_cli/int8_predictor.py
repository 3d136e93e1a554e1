"""Opens a model with its quantized backbone, and with the results that it has with it on its validation images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.engine_predictor import EnginePredictor
from resnet_cli.engines.int8_file import Int8Backbone, describe_int8, find_int8
from resnet_cli.errors import ModelError, ResnetCliError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.model.facts import sha256_of_same
from resnet_cli.model.lane_cost import LaneCost
from resnet_cli.model.model_path import resolve_model_path
from resnet_cli.model.reliability import ValidationResults, quantized_sha256, validation_precision
from resnet_cli.model.small_model import read_small_model
from resnet_cli.preprocess import Preprocess

if TYPE_CHECKING:
    from resnet_cli.model.model_file import Model
    from resnet_cli.system.device import Compute

#: Name of the metadata entry that says what the quantization costs.
COST = "resnet_cli.cost"


class NotQuantized(ModelError):
    """The backbone of a model has not been quantized yet.

    Attributes:
        model: The model, loaded in torch.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(
            f"{model.path or 'this model'}: its backbone is not quantized",
            hint="resnet-cli predict IMAGE --model RUN --precision int8 does that once; or remove --precision",
        )
        self.model = model


@dataclasses.dataclass(frozen=True)
class _Results:
    """What a model achieves with its quantized backbone."""

    reliability: ValidationResults | None
    thresholds: tuple[float, ...]
    cost: LaneCost


def trained_in_int8(provenance: Mapping[str, Any]) -> bool:
    """Whether the head was trained on features of a quantized backbone, which therefore belongs to the model."""
    return validation_precision(provenance) == "int8"


def about_int8(backbone_hash: str, preprocess: Preprocess, provenance: Mapping[str, Any], sha256: str) -> str:
    """The description of the quantized backbone that belongs to a model; ``sha256`` is that of its file."""
    return describe_int8(backbone_hash, preprocess, "" if trained_in_int8(provenance) else sha256)


def find_int8_predictor(source: str) -> EnginePredictor | None:
    """Opens a run folder or a model file without torch; None if that takes torch, or the backbone is not quantized.

    Args:
        source: What the user named, as :func:`resnet_cli.exported.opening.resolve_model` returns it.
    """
    try:
        model = read_small_model(resolve_model_path(Path(source), "MODEL"))
        if model is None:
            return None
        facts = model.facts
        sha256 = sha256_of_same(model.path, model.version)
        about = about_int8(model.backbone_hash, facts.preprocess, facts.provenance, sha256)
        found = find_int8(model.path, about, quantized_sha256(facts.provenance))
        if found is None:
            return None
        results = _read_results(found, facts.provenance)
    except ResnetCliError:
        # The message comes from reading it in torch.
        return None
    if results is not None:
        model = dataclasses.replace(
            model, reliability=results.reliability, facts=dataclasses.replace(facts, thresholds=results.thresholds)
        )
    predictor = EnginePredictor(model, found.backbone, name=source)
    predictor.precision_conflict, predictor.cost = None, None if results is None else results.cost
    return predictor


def with_int8(model: Model, compute: Compute) -> tuple[Model, Compute, LaneCost | None]:
    """Finds the quantized backbone of a model that was loaded in torch.

    Returns:
        The model with the validation results and thresholds that it has in int8, the same compute with the backbone,
        and what the quantization costs; None for a model whose head was trained in int8.

    Raises:
        NotQuantized: There is none, and it can be made.
        ModelError: The head was trained on features of a quantized backbone that is missing.
    """
    from resnet_cli.model.network import backbone_hash
    from resnet_cli.system.device import Quantized

    about = about_int8(backbone_hash(model.network), model.preprocess, model.provenance, model.sha256)
    found = find_int8(model.path, about, quantized_sha256(model.provenance))
    if found is None and trained_in_int8(model.provenance):
        raise ModelError(
            f"{model.path}: it was trained on features of a quantized backbone, and this file is missing beside it, "
            "damaged or that of another run",
            hint="copy the whole run folder, or train again; without --precision, predictions are less accurate",
        )
    if found is None:
        raise NotQuantized(model)
    compute = dataclasses.replace(compute, quantized=Quantized(found.path, found.sha256))
    results = _read_results(found, model.provenance)
    if results is None:
        return model, compute, None
    changed = dataclasses.replace(model, reliability=results.reliability, thresholds=results.thresholds)
    return changed, compute, results.cost


def _read_results(found: Int8Backbone, provenance: Mapping[str, Any]) -> _Results | None:
    """None if the results of the model itself are those in int8.

    Raises:
        ModelError: The metadata are damaged.
    """
    if trained_in_int8(provenance):
        return None
    metadata = ExportMetadata.from_texts(found.texts, str(found.path))
    try:
        cost = LaneCost.from_text(found.texts[COST])
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{found.path}: damaged metadata: {COST}") from error
    return _Results(metadata.reliability, metadata.thresholds, cost)
