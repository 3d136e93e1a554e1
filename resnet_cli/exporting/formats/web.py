"""``--format web``: a folder for any web server, with a page in which the browser runs the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.web import NETWORK_FILE, PREPROCESS_FILE, WebModel
from resnet_cli.exporting.formats.base import Calibration, Format
from resnet_cli.exporting.formats.onnx import OnnxFormat
from resnet_cli.exporting.web.folder import PAGE_FILES, describe, write_page
from resnet_cli.exporting.web.graphs import preprocessing_graph, store_halves
from resnet_cli.model.model_file import Model
from resnet_cli.network.web_runtime import find_package


class WebFormat(Format):
    """A static page with ONNX Runtime Web, which classifies images on the visitor's device."""

    name = "web"
    files = (NETWORK_FILE, PREPROCESS_FILE)
    texts = (*Format.texts, *PAGE_FILES)
    input_kind = "picture"

    def __init__(self) -> None:
        self._network = OnnxFormat()
        self._package: Path | None = None

    def require(self, model: Model, config: ExportConfig) -> None:
        """Finds the browser's runtime, and downloads it if this machine does not have it yet.

        Raises:
            ConfigError: ``--web-runtime`` is another file.
            NetworkError: It cannot be downloaded.
            DiskError: It cannot be stored.
        """
        self._package = find_package(config.web_runtime, offline=config.offline)

    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> WebModel:
        """Writes the graphs and the page; see :meth:`Format.write`."""
        network, described = path / NETWORK_FILE, _of_network(metadata)
        self._network.write(model, described, config, network, calibration=calibration)
        if metadata.precision == "fp16":
            _halve(network)
        (path / PREPROCESS_FILE).write_bytes(preprocessing_graph(model.preprocess).SerializeToString())
        self.write_texts(path, metadata)
        write_page(path, self._package, _engines(metadata))
        return WebModel(path)

    def rewrite(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> WebModel:
        """Writes the same network with other metadata; see :meth:`Format.rewrite`."""
        network = path / NETWORK_FILE
        self._network.rewrite(model, _of_network(metadata), config, network, calibration=calibration)
        if metadata.precision == "fp16":
            _halve(network)
        self.write_texts(path, metadata)
        describe(path, _engines(metadata))
        return WebModel(path)


def _of_network(metadata: ExportMetadata) -> ExportMetadata:
    """The metadata of the network alone, which takes tensors; the export in float16 would also compute in it."""
    precision = "fp32" if metadata.precision == "fp16" else metadata.precision
    return dataclasses.replace(metadata, input_kind="tensor", precision=precision)


def _engines(metadata: ExportMetadata) -> tuple[str, ...]:
    """WebGPU runs no int8 network, and its runtime takes 27 MB."""
    return ("wasm",) if metadata.precision == "int8" else ("webgpu", "wasm")


def _halve(network: Path) -> None:
    network.write_bytes(store_halves(onnx.load(network)).SerializeToString())
