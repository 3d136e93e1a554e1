"""Single images behind http(s): fetched when their turn comes, bounded in bytes and in time, never kept."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, ImageError, NetworkError
from resnet_cli.images import decode
from resnet_cli.network import addresses
from resnet_cli.network.download import is_offline
from resnet_cli.network.transfer import RemoteFile, Transfer

#: A 50-megapixel photo as PNG; more is no image that a network of 224 pixels needs.
MAX_BYTES = 200_000_000
TIMEOUT_S = 20
#: How often in a row it is tried again: a list of dead addresses must come to its end.
RETRIES = 2


class WebImage:
    """One image on the network; its bytes come once, with the first look."""

    def __init__(self, url: str, *, offline: bool) -> None:
        self.url = url
        self._offline = offline
        self._lock = threading.Lock()
        self._data: bytes | None = None

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            ImageError: It cannot be had: offline, not there, too large, altered on the way.
        """
        with self._lock:
            if self._data is None:
                try:
                    self._data = fetch_image(self.url, offline=self._offline)
                except (NetworkError, ConfigError) as error:
                    raise ImageError(addresses.redact(self.url), error.message) from error
            return self._data


@dataclasses.dataclass(frozen=True, slots=True)
class WebItem(Item):
    """An image on the network as an item.

    Attributes:
        image: Brings the bytes.
    """

    image: WebImage | None = None

    def open(self) -> Image.Image:
        """The upright RGB image.

        Raises:
            ImageError: It cannot be had or read.
        """
        assert self.image is not None
        return decode(self.image.read(), addresses.redact(self.name), max_pixels=self.max_pixels)


def web_item(url: str, *, max_pixels: int, offline: bool = False) -> WebItem:
    """An item that is fetched when it is opened; it is named by its address without user and password."""
    parts = urlsplit(url)
    # The query stays: it may be all that tells two images apart.
    name = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    return WebItem(name, b"", max_pixels=max_pixels, image=WebImage(url, offline=offline))


def downloaded(item: Item) -> Item:
    """The same image with its bytes at hand; others stay as they are.

    Raises:
        ImageError: It cannot be had.
    """
    if not isinstance(item, WebItem) or item.image is None:
        return item
    return Item(item.name, item.image.read(), max_pixels=item.max_pixels)


def fetch_image(url: str, *, offline: bool = False) -> bytes:
    """Fetches one file into memory.

    Args:
        url: ``https://``; ``http://`` only for this machine, or with ``#sha256=HEX`` behind it.
        offline: Fail instead.

    Raises:
        ConfigError: No such address.
        NetworkError: It could not be had, is too large, or its bytes are not the expected ones.
    """
    parts, sha256 = addresses.parse(url)
    address = parts.geturl()
    if is_offline(offline):
        raise NetworkError("offline: not fetched", hint="leave --offline and RESNET_CLI_OFFLINE away")
    if not (sha256 or addresses.is_private(address)):
        raise NetworkError("not encrypted, and no hash says what should come; refused", hint=addresses.ADD_HASH)
    file = RemoteFile(name="image", url=address, sha256=sha256)

    def check(done: int, total: int | None) -> None:
        if max(done, total or 0) > MAX_BYTES:
            raise NetworkError(f"more than {MAX_BYTES / 1e6:.0f} MB", hint="download it by hand, and give the file")

    with tempfile.TemporaryDirectory(prefix="resnet-cli-") as folder:
        transfer = Transfer(file, address, Path(folder), check, TIMEOUT_S)
        transfer.run(RETRIES)
        return transfer.part.read_bytes()
