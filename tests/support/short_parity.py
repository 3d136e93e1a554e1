"""A parity check that takes a moment, for tests of what comes before or after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.opening import open_exported
from resnet_cli.exporting import fresh_answers, parity
from resnet_cli.exporting.other_engines import OWN, Engine, EngineAnswer


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries few sizes, measures no speed, and opens the file again in this process instead of in a fresh one.

    The tests of the parity check try every size, and those of the fresh answers start processes.
    """
    monkeypatch.setattr(parity, "BATCHES", (1, 3))
    monkeypatch.setattr(parity, "ODD_SIZES", ((1, 1), (97, 31)))
    monkeypatch.setattr(parity, "NUM_TIMED", {1: 1})
    monkeypatch.setattr(fresh_answers, "NUM_IMAGES", 1)
    monkeypatch.setattr(fresh_answers, "installed_engines", lambda: iter(()))
    monkeypatch.setattr(fresh_answers, "ask", ask_here)


def ask_here(
    engine: Engine, path: Path, metadata: ExportMetadata, images: Sequence[Image.Image], **_: Any
) -> EngineAnswer:
    """The answer of this process instead of a fresh one, which would not know that its networks are narrow."""
    assert engine is OWN
    probs = open_exported(path, trusted=True).predict_images(images).probs
    return EngineAnswer(engine, "here", probs, probs)
