"""A small exported model as a fixture; a test module asks for it by ``pytest_plugins``."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_cli.config.export import ExportConfig
from resnet_cli.exporting.export import Job
from resnet_cli.model import network as models


@pytest.fixture(scope="session")
def made_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow model as an exported file that takes whole images."""
    # Here and not above: a plugin is imported before pytest has looked at those.
    from support.narrow_network import stage
    from support.synthetic_models import telling_model

    path = tmp_path_factory.mktemp("made") / "insects.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_stage", stage)
        model = telling_model()
        Job(model, ExportConfig()).write(path)
    return path
