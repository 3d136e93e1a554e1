"""``--format pt2``: a model as a program of ``torch.export``, for any batch size.

Only trusted files may be read again: ``torch.export.load`` can run code in them, as its documentation says.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from torch.export import Dim

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.metadata import METADATA_FILE, NOVELTY, ExportMetadata
from resnet_cli.exported.pt2 import Pt2Model
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.formats.torch_program import TorchProgram
from resnet_cli.model.model_file import Model


class Pt2Format(Format):
    """A file that ``torch.export.load`` reads."""

    name = "pt2"
    is_folder = False
    input_kind = "pixels"

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> Pt2Model:
        """Writes the program and reads it back; see :meth:`Format.write`.

        Its input is ``images``: either uint8 [b x 3 x s x s], the output of ``Preprocess``, with normalization inside;
        or float32 and normalized, if the metadata say that it takes tensors. Temperature and softmax, or sigmoid, are
        inside.
        """
        side = model.preprocess.crop_size
        takes_pixels = metadata.input_kind == "pixels"
        program = torch.export.export(
            TorchProgram(model, takes=metadata.input_kind, with_novelty=NOVELTY in metadata.outputs).eval(),
            # A batch of two: from a batch of one, torch concludes that the batch size is always one.
            (torch.zeros(2, 3, side, side, dtype=torch.uint8 if takes_pixels else torch.float32),),
            dynamic_shapes={"images": {0: Dim.DYNAMIC}},
        )
        data = io.BytesIO()
        torch.export.save(program, data, extra_files={METADATA_FILE: json.dumps(metadata.to_texts())})
        path.write_bytes(data.getvalue())
        return Pt2Model(path)
