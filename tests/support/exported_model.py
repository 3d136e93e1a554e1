"""Small exported models as fixtures; a test module asks for them by ``pytest_plugins``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_cli.config.export import ExportConfig
from resnet_cli.exporting.export import Job
from resnet_cli.model import network as models
from resnet_cli.model.model_file import Model


@pytest.fixture(scope="session")
def made_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow model as an exported file that takes whole images."""
    # Here and not above: a plugin is imported before pytest has looked at those.
    from support.synthetic_models import telling_model

    return _exported(telling_model, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def labels_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a model that gives an image any number of labels."""
    from support.synthetic_models import labels_model

    return _exported(labels_model, tmp_path_factory.mktemp("labels"))


def _exported(make: Callable[[], Model], folder: Path) -> Path:
    from support.narrow_network import stage

    path = folder / "insects.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_stage", stage)
        Job(make(), ExportConfig()).write(path)
    return path
