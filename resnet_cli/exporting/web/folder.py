"""The files of a web folder besides the graphs: page, scripts, runtime, licenses, and what the page has to know."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_cli.exported.web import NETWORK_FILE, WebModel
from resnet_cli.images.pixels import MAX_PIXELS
from resnet_cli.model.heatmap import web_look
from resnet_cli.model.reliability import UNLIKE
from resnet_cli.network.web_runtime import ENGINES, read_files
from resnet_cli.reporting import live_page
from resnet_cli.system.no_telemetry import import_onnxruntime

#: For the document, and for its workers through the service worker. ``wasm-unsafe-eval`` allows WebAssembly only.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
#: What every browser decodes, or says that it cannot. Without HEIC in this list, a phone sends its photos as JPEG.
_READABLE = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/avif")
_SCRIPTS = ("page.js", "worker.js", "decode.js", "heat.js")
_SERVICE_WORKER = "sw.js"
_LICENSES = ("LICENSE", "ThirdPartyNotices.txt")
#: Everything that may be in a folder besides the graphs, the metadata and the labels.
PAGE_FILES = (
    *("index.html", "page.css", "page.json", _SERVICE_WORKER),
    *live_page.SCRIPTS,
    *_SCRIPTS,
    *(name for files in ENGINES.values() for name in files),
    *(f"onnxruntime-{Path(name).stem}.txt" for name in _LICENSES),
)
#: Files that the service worker gets only when the page asks for them.
_LATER = (".onnx", ".wasm", ".txt", "ort.wasm.js", "ort.webgpu.js")
#: The image of the check in the browser: no side is the network's, so that it is resized.
_CHECK_WIDTH, _CHECK_HEIGHT = 131, 97
#: Largest difference between probabilities in the browser and at the export. On 253 photos it was 0.000001, and in int8
#: 0.028, whose sums are rounded to other levels where instructions differ.
_TOLERANCE, _TOLERANCE_INT8 = 0.03, 0.15


def write_page(folder: Path, package: Path | None, engines: tuple[str, ...]) -> None:
    """Adds everything to a folder that already has the two graphs, the metadata and the labels.

    Args:
        folder: The folder.
        package: What :func:`resnet_cli.network.web_runtime.find_package` returned.
        engines: Keys of :data:`resnet_cli.network.web_runtime.ENGINES`, which the page may use.

    Raises:
        DataError: The package is damaged.
        OSError: The folder cannot be written.
    """
    policy = f'<meta http-equiv="content-security-policy" content="{POLICY}">\n'
    no_script = "This page needs JavaScript: the model runs in the browser."
    texts = {
        "index.html": live_page.html(
            readable=_READABLE, no_script=no_script, head=policy, before=_page_file("before.html")
        ),
        "page.css": live_page.css() + _page_file("web.css"),
        **{name: live_page.file(name) for name in live_page.SCRIPTS},
        **{name: _page_file(name) for name in _SCRIPTS},
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, data in read_files(package, engines):
        (folder / name).write_bytes(data)
    _copy_licenses(folder)
    describe(folder, engines)


def describe(folder: Path, engines: tuple[str, ...]) -> None:
    """Writes what depends on the network and its metadata: what the page has to know, and the service worker.

    Args:
        folder: A folder with all other files.
        engines: What the page may use, the first that works.
    """
    page = {
        "engines": engines,
        "networkBytes": (folder / NETWORK_FILE).stat().st_size,
        "mostPixels": MAX_PIXELS,
        "unlike": UNLIKE,
        "heat": web_look(),
        "check": _check(WebModel(folder)),
    }
    (folder / "page.json").write_text(json.dumps(page, indent=2) + "\n", encoding="utf-8")
    files = sorted(path for path in folder.iterdir() if path.name != _SERVICE_WORKER)
    version = hashlib.sha256()
    for path in files:
        version.update(path.read_bytes())
    early = ["./", *(path.name for path in files if not path.name.endswith(_LATER))]
    script = (
        _page_file(_SERVICE_WORKER)
        .replace("THE_VERSION", version.hexdigest()[:16])
        .replace("THE_FILES", json.dumps(early))
        .replace("THE_POLICY", POLICY)
    )
    (folder / _SERVICE_WORKER).write_text(script, encoding="utf-8")


def _check(model: WebModel) -> dict[str, object]:
    """The output for an image that a browser can make too: it computes with other instructions, or on a GPU."""
    values = np.arange(_CHECK_HEIGHT * _CHECK_WIDTH * 3) * 7919 % 251
    image = Image.fromarray(values.astype(np.uint8).reshape(_CHECK_HEIGHT, _CHECK_WIDTH, 3))
    output = model.predict_images([image])
    return {
        "width": _CHECK_WIDTH,
        "height": _CHECK_HEIGHT,
        "probs": output.probs[0].tolist(),
        "novelty": None if output.novelty is None else float(output.novelty[0]),
        "tolerance": _TOLERANCE_INT8 if model.precision == "int8" else _TOLERANCE,
    }


def _copy_licenses(folder: Path) -> None:
    """The terms of ONNX Runtime, which its package for Python contains and the one for browsers does not."""
    source = Path(import_onnxruntime().__file__).parent
    for name in _LICENSES:
        if (source / name).is_file():
            (folder / f"onnxruntime-{Path(name).stem}.txt").write_bytes((source / name).read_bytes())


def _page_file(name: str) -> str:
    return (resources.files("resnet_cli") / "exporting" / "web" / "page" / name).read_text("utf-8")
