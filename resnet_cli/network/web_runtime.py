"""ONNX Runtime for browsers: which version, where it is published, and which of its files a page needs."""

from __future__ import annotations

import shlex
import sys
import tarfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from resnet_cli.errors import ConfigError, DataError
from resnet_cli.network.download import fetch
from resnet_cli.network.remote_file import OnProgress, RemoteFile
from resnet_cli.system.paths import cache_dir, disk_errors, make_dir, write_bytes

NAME = "onnxruntime-web"
#: Source of the hash: the package's ``dist.integrity`` in npm's registry.
PACKAGE = RemoteFile(
    name="onnxruntime-web-1.30.0.tgz",
    url="https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz",
    num_bytes=33_106_585,
    sha512="ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61",
    licence="MIT",
    description="ONNX Runtime 1.30.0 for browsers, for export --format web",
)
#: Engine -> its files in the folder -> their names in the package.
ENGINES = {
    "wasm": {
        "ort.wasm.js": "package/dist/ort.wasm.bundle.min.mjs",
        "ort.wasm.wasm": "package/dist/ort-wasm-simd-threaded.wasm",
    },
    "webgpu": {
        "ort.webgpu.js": "package/dist/ort.webgpu.bundle.min.mjs",
        "ort.webgpu.wasm": "package/dist/ort-wasm-simd-threaded.asyncify.wasm",
    },
}
#: Where ``make wheel`` puts these files.
_PACKAGED = Path(str(resources.files("resnet_cli"))) / "exporting" / "web" / "runtime"


def cache_folder() -> Path:
    """The folder of the downloaded package."""
    return cache_dir() / "runtimes"


def packaged_folder() -> Path | None:
    """The folder in this installation that a wheel made by ``make wheel`` contains; None if there is none."""
    names = [name for files in ENGINES.values() for name in files]
    return _PACKAGED if all((_PACKAGED / name).is_file() for name in names) else None


def find_package(
    given: Path | None = None, *, offline: bool = False, on_progress: OnProgress | None = None
) -> Path | None:
    """Makes the package available, before anything is computed.

    Args:
        given: The package as a file that the user names.
        offline: Fail instead of downloading it.
        on_progress: Called with the bytes received so far and the total.

    Returns:
        The package; None if the installation itself contains its files.

    Raises:
        ConfigError: ``given`` is not that package.
        NetworkError: The package is not on this machine and cannot be downloaded.
        DiskError: It cannot be read or stored.
    """
    if given is not None:
        with disk_errors(given, "read", hint="give the path of the downloaded file"):
            mismatch = PACKAGE.mismatch(given)
        if mismatch is not None:
            raise ConfigError(
                f"{given}: not {PACKAGE.name}: {mismatch}", hint=f"download exactly this version: {PACKAGE.url}"
            )
        return given
    if packaged_folder() is not None:
        return None
    return fetch(PACKAGE, cache_folder(), offline=offline, on_progress=on_progress)


def read_files(package: Path | None, engines: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the files of some engines.

    Args:
        package: What :func:`find_package` returned.
        engines: Keys of :data:`ENGINES`.

    Raises:
        DataError: The package was damaged since it was verified.
        DiskError: The files cannot be read.
    """
    wanted = {name: member for engine in engines for name, member in ENGINES[engine].items()}
    if package is None:
        folder = packaged_folder()
        assert folder is not None
        for name in wanted:
            with disk_errors(folder / name, "read"):
                yield name, (folder / name).read_bytes()
        return
    try:
        with disk_errors(package, "read"), tarfile.open(package) as archive:
            for name, member in wanted.items():
                file = archive.extractfile(member)
                assert file is not None
                yield name, file.read()
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise DataError(f"{package}: damaged: {error}", hint=f"remove it: rm {shlex.quote(str(package))}") from error


def unpack(folder: Path) -> None:
    """Writes the files of all engines into a folder of the package, for ``make wheel``."""
    make_dir(folder)
    for name, data in read_files(find_package(), tuple(ENGINES)):
        write_bytes(folder / name, data)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
