"""Single images at http(s) URLs: fetched when they are opened, limited in bytes and time, never stored."""

from __future__ import annotations

import dataclasses
import threading
from urllib.parse import urlsplit, urlunsplit

from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, ImageError, NetworkError
from resnet_cli.images import decode
from resnet_cli.network import addresses
from resnet_cli.network.download import is_offline
from resnet_cli.network.remote_file import RemoteFile
from resnet_cli.system.caches import temporary_folder
from resnet_cli.text import size

#: Size of a 50-megapixel photo as PNG; a network with 224 pixels needs no larger image.
MAX_BYTES = 200_000_000
TIMEOUT_S = 20
#: Number of retries: few, so that a list of dead URLs ends in reasonable time.
RETRIES = 2


class WebImage:
    """One image on the network; its bytes are fetched once, when they are first needed."""

    def __init__(self, url: str, *, offline: bool) -> None:
        self.url = url
        self._offline = offline
        self._lock = threading.Lock()
        self._data: bytes | None = None

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            ImageError: It cannot be downloaded: offline, not found, too large, or altered.
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
    """An item whose image is on the network.

    Attributes:
        image: Fetches the bytes.
    """

    image: WebImage | None = None

    def open(self, bit_depth: int | None = 16) -> Image.Image:
        """The upright RGB image; see :meth:`Item.open`.

        Raises:
            ImageError: It cannot be downloaded or decoded.
        """
        assert self.image is not None
        name = addresses.redact(self.name)
        return decode(self.image.read(), name, max_pixels=self.max_pixels, bit_depth=bit_depth)


def web_item(url: str, *, max_pixels: int, offline: bool = False) -> WebItem:
    """An item that is fetched when it is opened; its name is the URL without user and password."""
    parts = urlsplit(url)
    # The query is kept: it may be the only difference between two images.
    name = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
    return WebItem(name, b"", max_pixels=max_pixels, image=WebImage(url, offline=offline))


def downloaded(item: Item) -> Item:
    """The same item with its bytes in memory; items that are not on the network are returned as they are.

    Raises:
        ImageError: It cannot be downloaded.
    """
    if not isinstance(item, WebItem) or item.image is None:
        return item
    return Item(item.name, item.image.read(), max_pixels=item.max_pixels)


def fetch_image(url: str, *, offline: bool = False) -> bytes:
    """Fetches one file into memory.

    Args:
        url: ``https://``; ``http://`` only for this machine, or with ``#sha256=HEX`` appended.
        offline: Fail instead of using the network.

    Raises:
        ConfigError: The URL is invalid.
        NetworkError: It cannot be downloaded, is too large, or has the wrong bytes.
    """
    parts, sha256 = addresses.parse(url)
    address = parts.geturl()
    if is_offline(offline):
        raise NetworkError("offline: not fetched", hint="remove --offline and RESNET_CLI_OFFLINE")
    if not (sha256 or addresses.is_private(address)):
        raise NetworkError("not encrypted, and there is no hash to verify the file; refused", hint=addresses.ADD_HASH)
    file = RemoteFile(name="image", url=address, sha256=sha256)

    def check(done: int, total: int | None) -> None:
        if max(done, total or 0) > MAX_BYTES:
            raise NetworkError(f"more than {size(MAX_BYTES)}", hint="download it by hand, and give the file")

    with temporary_folder() as folder:
        from resnet_cli.network.transfer import Transfer

        transfer = Transfer(file, address, folder, check, TIMEOUT_S)
        transfer.run(RETRIES)
        return transfer.part.read_bytes()
