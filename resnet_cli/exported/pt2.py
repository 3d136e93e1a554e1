"""An exported ``.pt2`` file, run by torch.

Only trusted files may be read: ``torch.export.load`` can run code that is in the file, as torch's documentation says.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel, channels_first
from resnet_cli.exported.metadata import METADATA_FILE, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.muting import quiet


class Pt2Model(ExportedModel):
    """An exported ``.pt2`` file, opened.

    Args:
        path: A trusted file: its code is run.

    Raises:
        ModelError: It is damaged, or another program wrote it.
    """

    def __init__(self, path: Path) -> None:
        extra = {METADATA_FILE: ""}
        try:
            # It logs why it cannot read a file, and torch 2.11 warns about its own buffers.
            with quiet():
                program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            texts = json.loads(extra[METADATA_FILE])
        except Exception as error:
            # torch's errors for other files have no other common base class.
            raise ModelError(f"{path}: not a .pt2 file that this program wrote: {str(error)[:100]}") from error
        super().__init__(ExportMetadata.from_texts(texts, str(path)), path)
        side, sizes = self.preprocess.crop_size, _sizes(program)
        if sizes[:2] != [[3, side, side], [len(self.classes)]]:
            raise ModelError(f"{path}: damaged: its program does not fit its metadata")
        self._program = program.module()
        self.has_novelty = len(program.graph_signature.user_outputs) > 1

    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the program has it."""
        pixels = torch.from_numpy(channels_first(inputs))
        with torch.inference_mode():
            images = self.preprocess.normalize(pixels) if self.metadata.input_kind == "tensor" else pixels
            probs, *novelty = self._program(images.contiguous())
        return ModelOutput(probs.numpy(), novelty[0].numpy() if novelty else None)


def _sizes(program: torch.export.ExportedProgram) -> list[list[int]]:
    """Sizes of the inputs and outputs, without those of the batch."""
    signature, values = program.graph_signature, {node.name: node.meta.get("val") for node in program.graph.nodes}
    names = (*signature.user_inputs, *signature.user_outputs)
    return [list(getattr(values.get(str(name)), "shape", ()))[1:] for name in names]
