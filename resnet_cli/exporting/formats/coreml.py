"""``--format coreml``: a folder with ``model.mlpackage``, for apps on iPhones, iPads and Macs.

Source: https://apple.github.io/coremltools/docs-guides/source/model-exporting.html
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import torch

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import SetupError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.coreml import IMAGE, MODEL_FILE, WHERE_IT_RUNS, CoreMlModel, load_tools, runs_here
from resnet_cli.exported.metadata import NOVELTY, PROBS, ExportMetadata
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.formats.converter import converting
from resnet_cli.exporting.formats.coreml_program import CoreMlProgram
from resnet_cli.exporting.formats.torch_program import TorchProgram
from resnet_cli.installation import install_command
from resnet_cli.model.model_file import Model
from resnet_cli.system.muting import quiet

_SPECIFICATION = Path("Data/com.apple.CoreML/model.mlmodel")
_WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")


class CoreMlFormat(Format):
    """A folder with an ML program for one image of the network's size, in float32 or float16, for iOS 15 and later.

    The batch is fixed: ``Dim.DYNAMIC`` would give a file that takes two images or more, and no single one.
    """

    name = "coreml"
    files = (MODEL_FILE,)
    input_kind = "pixels"
    # Both temporary packages too.
    room: ClassVar = {"fp32": 3.0, "fp16": 1.5}

    def require(self, model: Model, config: ExportConfig) -> None:
        """Refuses the format without coremltools.

        Raises:
            SetupError: It is not installed, or in a version that was not tested.
        """
        load_tools("--format coreml")

    def cannot_run_here(self) -> str | None:
        """Core ML is a part of macOS."""
        return None if runs_here() else WHERE_IT_RUNS

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> ExportedModel:
        """Converts the model, and opens it with Core ML or, where that does not run, computes its program in torch."""
        side = model.preprocess.crop_size
        program = TorchProgram(model, takes="pixels", with_novelty=NOVELTY in metadata.outputs).eval()
        try:
            # It prints progress bars.
            with quiet(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
                exported = torch.export.export(program, (torch.zeros(1, 3, side, side),)).run_decompositions({})
                # It writes the package to temporary places twice before it saves it, and removes them at exit.
                with converting(path):
                    package = _convert(exported, metadata, side)
                    package.save(str(path / MODEL_FILE))
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            raise SetupError(
                f"coremltools cannot convert the model with torch {torch.__version__}: {str(error).strip()[:200]}",
                hint=install_command("coreml"),
            ) from error
        # Only its owner may read it, which is a trace of a temporary file.
        shutil.copymode(path / MODEL_FILE / _WEIGHTS, path / MODEL_FILE / _SPECIFICATION)
        self.write_texts(path, metadata)
        return CoreMlModel(path) if runs_here() else CoreMlProgram(path)


def _convert(exported: torch.export.ExportedProgram, metadata: ExportMetadata, side: int) -> Any:
    """The package as ``coremltools.models.MLModel``, not compiled."""
    tools = load_tools("--format coreml")
    names = list(exported.graph_signature.user_outputs)
    is_classifier = metadata.task == "single-label"
    converted = tools.convert(
        exported,
        inputs=[tools.ImageType(IMAGE, shape=(1, 3, side, side), color_layout=tools.colorlayout.RGB)],
        # Without a name, it takes what the program computes last for the probabilities; in float16, another output.
        classifier_config=tools.ClassifierConfig(list(metadata.classes), predicted_probabilities_output=names[0])
        if is_classifier
        else None,
        # From iOS 16 on, it fails on classifiers in float16 with more outputs than the probabilities.
        minimum_deployment_target=tools.target.iOS15,
        compute_precision=tools.precision.FLOAT16 if metadata.precision == "fp16" else tools.precision.FLOAT32,
        skip_model_load=True,
    )
    spec = converted.get_spec()
    # `outputs`, which would name them, cannot be given for a classifier.
    if is_classifier:
        names[0] = spec.description.predictedProbabilitiesName
    for name, wanted in zip(names, (PROBS, NOVELTY), strict=False):
        tools.utils.rename_feature(spec, name, wanted)
    package = tools.models.MLModel(spec, weights_dir=converted.weights_dir, skip_model_load=True)
    package.license = metadata.licence
    package.version = metadata.version
    package.short_description = "Classifies images; made by resnet-cli"
    package.input_description[IMAGE] = f"RGB, {side} x {side} pixels: resized and cropped as in the training"
    package.output_description[PROBS] = "Probability of each class"
    if len(names) > 1:
        package.output_description[NOVELTY] = "How unlike the training images the image is, from 0 to 2"
    package.user_defined_metadata["resnet_cli"] = json.dumps(metadata.to_texts())
    return package
