"""A ``.pt2`` file of ours, run by torch.

Reading such a file is for files that one trusts: torch says so itself of ``torch.export.load``.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ABOUT_FILE, ExportedModel, channels_first
from resnet_cli.exported.metadata import About
from resnet_cli.images import Pixels
from resnet_cli.prediction import Answers


class Pt2Model(ExportedModel):
    """A ``.pt2`` file of ours, answered by torch.

    Args:
        path: A file that is trusted: it is run.

    Raises:
        ModelError: It is damaged, or not one of ours.
    """

    def __init__(self, path: Path) -> None:
        extra = {ABOUT_FILE: ""}
        try:
            with warnings.catch_warnings():
                # Torch 2.11 warns of its own buffers.
                warnings.filterwarnings("ignore", message="The given buffer is not writable")
                program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
            texts = json.loads(extra[ABOUT_FILE])
        except Exception as error:
            # torch's own errors for what is no such file have no common parent but this.
            raise ModelError(f"{path}: not a .pt2 file that this program wrote: {str(error)[:100]}") from error
        super().__init__(About.from_texts(texts, str(path)), path)
        self._program = program.module()
        self.has_novelty = len(program.graph_signature.user_outputs) > 1

    def answer(self, seen: list[Pixels]) -> Answers:
        """Probabilities, and novelty where the program has it."""
        pixels = torch.from_numpy(channels_first(seen))
        with torch.inference_mode():
            images = self._preprocess.normalize(pixels) if self.about.takes == "tensor" else pixels
            probs, *novelty = self._program(images.contiguous())
        return Answers(probs.numpy(), novelty[0].numpy() if novelty else None)
