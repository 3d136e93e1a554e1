"""Remote DATA becomes a local folder, archive or table, which the readers of local data open.

Archives at http(s) URLs are one download (``download.py``), ``hf:`` is the Hugging Face Hub (``hub.py``), and
everything else, such as s3:// and gs:// buckets or web folders, is copied through fsspec. Passwords are neither
requested nor stored: each library finds its own in the environment or in its own files.
"""

from __future__ import annotations

import dataclasses
import html
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin

from resnet_cli.data.sources.fetching.archives import is_archive_name
from resnet_cli.data.sources.fetching.hub import is_wanted, localize_hub
from resnet_cli.data.sources.fetching.remote_cache import (
    MAX_FILES,
    NUM_THREADS,
    RemoteCache,
    RemoteEntry,
    cache_folder,
    check_path,
    exclusive,
    safe_name,
)
from resnet_cli.data.sources.tables.formats import is_table_name
from resnet_cli.data.sources.tables.table import image_rows
from resnet_cli.errors import DataError, NetworkError, SetupError, missing_extra
from resnet_cli.network import addresses
from resnet_cli.network.download import fetch_url, is_offline
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.network.retry import attempt, explain, redact
from resnet_cli.text import counted

MAX_DEPTH = 64
_TIMEOUT_S = 60
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_WEB = frozenset({"http", "https"})
#: Schemes whose drivers the extra installs.
_IN_EXTRA = frozenset({"http", "https", "s3", "s3a", "gs", "gcs", "memory"})
#: Schemes that are not remote, or that have a better spelling -> what to write instead.
_INSTEAD = {
    "file": "give the path itself",
    "local": "give the path itself",
    "hf": "write hf:OWNER/NAME",
    "ftp": "it is not encrypted: give an https:// URL",
    "zip": "give the archive itself",
    "tar": "give the archive itself",
}


def is_remote(spec: str) -> bool:
    """Whether DATA is remote: ``hf:...`` or ``scheme://...`` (a Windows drive is not a scheme)."""
    return spec.startswith("hf:") or _SCHEME.match(spec) is not None


def localize(
    spec: str,
    *,
    offline: bool = False,
    on_progress: OnProgress | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> Path:
    """Copies remote data into the cache, as far as it is not there yet.

    The copy of a folder has its images and tables under the same names; the copy of a table has the images that the
    table lists beside it. An image that does not exist is left for the reader to report. Each call fetches what has
    changed, and resumes an interrupted copy. Images in a web folder or a table have no version, so copied ones are
    kept.

    Args:
        spec: ``hf:OWNER/NAME``, or the URL of a folder, a table or an archive.
        offline: Use the complete copy of an earlier call, and fail if there is none.
        on_progress: Called with the bytes copied so far and the total, None if it is not known.
        columns: Field of the columns in DataConfig -> name; None for the usual names.

    Returns:
        A local folder, archive or table.

    Raises:
        DataError: It does not exist, contains nothing of use, or has names that would leave its folder.
        NetworkError: It cannot be downloaded, or only without encryption.
        SetupError: A package is not installed.
        DiskError: The cache cannot be written, or the disk is full.
        ConfigError: The URL is invalid, or a requested column does not exist.
    """
    offline = is_offline(offline)
    if spec.startswith("hf:") and not spec.startswith("hf://"):
        return localize_hub(spec, offline=offline, on_progress=on_progress, columns=columns or {})
    scheme = _scheme(spec)
    address, last = _web_address(spec) if scheme in _WEB else (spec, safe_name(spec.rstrip("/").rpartition("/")[2]))
    if scheme in _WEB and is_archive_name(last):
        return fetch_url(spec, offline=offline, on_progress=on_progress)
    key = spec.rstrip("/")
    if offline:
        copy = RemoteCache(key, last)
        if copy.complete and (copy.folder / last).exists():
            return copy.folder / last
        raise NetworkError(
            f"offline, and there is no complete copy of {copy.display_name}", hint="run this once with a network"
        )
    filesystem, root = _open(address, scheme)
    source = _Source(filesystem, root, redact(spec), is_web=scheme in _WEB)
    with exclusive(cache_folder(key, last)):
        copy = RemoteCache(key, last)
        if is_archive_name(last) or is_table_name(Path(last)):
            return _fetch_file(copy, source, last, on_progress, columns=columns or {})
        return _fetch_folder(copy, source, last, on_progress)


def _scheme(spec: str) -> str:
    found = _SCHEME.match(spec)
    if not found:
        raise DataError(f"DATA {redact(spec)}: not a URL", hint="write scheme://host/folder or hf:OWNER/NAME")
    scheme = found[1].lower()
    if scheme in _INSTEAD:
        raise DataError(f"DATA {redact(spec)}: {scheme}:// is not supported", hint=_INSTEAD[scheme])
    return scheme


def _web_address(spec: str) -> tuple[str, str]:
    """The quoted address, and the name of the folder or file."""
    parts, _ = addresses.parse(spec)
    path = unquote(parts.path).rstrip("/") or parts.hostname or ""
    last = safe_name(path.rpartition("/")[2])
    if is_archive_name(last):
        return spec, last
    if parts.query or "#" in spec:
        raise DataError(
            f"DATA {redact(spec)}: only the URL of an archive may contain '?' or '#'",
            hint="give the URL of a folder, a table or an archive",
        )
    if not addresses.is_private(spec):
        raise NetworkError(f"{redact(spec)} is not encrypted; refused", hint="write https://")
    return parts.geturl(), last


class _Source:
    """A folder of an fsspec filesystem, or one file in it."""

    def __init__(self, filesystem: Any, root: str, display_name: str, *, is_web: bool) -> None:
        self.filesystem = filesystem
        self.root = root
        self.display_name = display_name
        self.is_web = is_web

    def info(self) -> Mapping[str, Any]:
        """Information about the one file; empty if the filesystem gives none."""
        try:
            found: Mapping[str, Any] = attempt(lambda: self.filesystem.info(self.root), self.display_name)
        except FileNotFoundError:
            return {}
        return found

    def beside(self, name: str) -> str:
        """The URL of a file whose name is relative to this one."""
        parent = self.root.rpartition("/")[0]
        return f"{parent}/{quote(os.fsencode(name))}" if self.is_web else f"{parent}/{name}"

    def files(self) -> Iterator[RemoteEntry]:
        """Yields the images and tables below the folder, with names relative to it; hidden ones are skipped."""
        folders = [self.root + "/" if self.is_web else self.root]
        num_entries = 0
        with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="list") as pool:
            for _ in range(MAX_DEPTH):
                # fsspec's own find() would follow a web page's links to '..' and '.'.
                listings = pool.map(self._entries, folders)
                folders = []
                for entry, is_folder in itertools.chain.from_iterable(listings):
                    num_entries += 1
                    if num_entries > MAX_FILES:
                        raise DataError(f"{self.display_name}: more than {MAX_FILES:,} files")
                    if is_folder:
                        folders.append(entry.address)
                    else:
                        yield entry
                if not folders:
                    return
        raise DataError(f"{self.display_name}: folders are nested more than {MAX_DEPTH} deep")

    def _entries(self, folder: str) -> list[tuple[RemoteEntry, bool]]:
        """The entries of a folder that are of use, each with whether it is a folder."""
        try:
            listing = attempt(lambda: self.filesystem.ls(folder, detail=True), self.display_name)
        except FileNotFoundError as error:
            raise DataError(f"DATA {self.display_name}: does not exist", hint="check the URL") from error
        found = []
        for info in listing:
            address = html.unescape(info["name"]) if self.is_web else str(info["name"])
            name = self._name(address)
            is_folder = info.get("type") == "directory"
            # A web page may link to anything; links to parent folders do not belong to the folder.
            is_link_up = self.is_web and is_folder and ".." in name.split("/")
            last = Path(name.rpartition("/")[2])
            if not is_link_up and (not last.name.startswith(".") if is_folder else is_wanted(last)) and last.name:
                found.append((RemoteEntry.of(check_path(name, self.display_name), address, info), is_folder))
        return found

    def _name(self, address: str) -> str:
        """The name relative to the folder; empty for the folder itself and for anything outside it."""
        root = self.root + "/"
        if not address.startswith(root) or (self.is_web and {"?", "#"} & set(address)):
            return ""
        name = address.removeprefix(root).rstrip("/")
        return os.fsdecode(unquote_to_bytes(name)) if self.is_web else name


def _open(address: str, scheme: str) -> tuple[Any, str]:
    """An fsspec filesystem, and the path of the folder or file on it."""
    display_name = redact(address)
    try:
        import fsspec

        kind = fsspec.get_filesystem_class(scheme)
        options: dict[str, Any] = {}
        if scheme in _WEB:
            # A compressed transfer has a different length than the server states.
            headers = {"Accept-Encoding": "identity"}
            options = {"get_client": _web_client, "simple_links": False, "headers": headers}
    except ImportError as error:
        what = f"{scheme}:// needs a package that is not installed: {error}"
        raise missing_extra(what, "cloud") if scheme in _IN_EXTRA else SetupError(what) from error
    except ValueError as error:
        raise DataError(
            f"DATA {display_name}: unknown scheme {scheme}://",
            hint="use one such as s3://, gs://, https:// or hf:OWNER/NAME",
        ) from error
    try:
        # Not the cached instance, whose listings would be those of an earlier call.
        filesystem = kind(**kind._get_kwargs_from_urls(address), **options, skip_instance_cache=True)
        return filesystem, str(kind._strip_protocol(address)).rstrip("/")
    except Exception as error:  # every filesystem has its own errors
        raise explain(error, display_name) from error


async def _web_client(**options: Any) -> Any:
    """A session that finds proxies and passwords as curl does, and follows no redirect to an unencrypted URL."""
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_check_redirect)
    # A large file may take hours; only a silent connection times out.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
    return aiohttp.ClientSession(trust_env=True, timeout=timeout, trace_configs=[trace], **options)


async def _check_redirect(session: Any, context: Any, redirect: Any) -> None:
    target = urljoin(str(redirect.url), redirect.response.headers.get("Location", ""))
    if not addresses.is_private(target):
        raise NetworkError(
            f"{redact(str(redirect.url))} redirects to {redact(target)}, which is not encrypted; refused",
            hint="the network may require a login: open the URL in a browser",
        )


def _fetch_file(
    copy: RemoteCache, source: _Source, last: str, on_progress: OnProgress | None, *, columns: Mapping[str, str | None]
) -> Path:
    """Copies an archive, or a table and then the images that it lists."""
    info = source.info()
    file = RemoteEntry.of(last, source.root, info)
    if copy.fetch(source.filesystem, [file], on_progress=on_progress, again=not info):
        raise DataError(f"DATA {copy.display_name}: does not exist", hint="check the URL")
    names = {last}
    if is_table_name(Path(last)):
        named = {
            check_path(row.image, copy.display_name): None
            for row in image_rows(copy.folder / last, columns.get("image_column"))
            if row.data is None
        }
        if len(named) > MAX_FILES:
            raise DataError(f"{copy.display_name}: more than {MAX_FILES:,} images")
        images = [RemoteEntry(name, source.beside(name)) for name in named if name != last]
        missing = copy.fetch(source.filesystem, images, on_progress=on_progress)
        if images and len(missing) == len(images):
            raise DataError(
                f"DATA {copy.display_name}: no image that it lists exists ({counted(len(images), 'image')}), such as "
                f"{missing[0][:200]}",
                hint="write paths relative to the table's folder",
            )
        names |= {image.name for image in images}
    copy.finish(names)
    return copy.folder / last


def _fetch_folder(copy: RemoteCache, source: _Source, last: str, on_progress: OnProgress | None) -> Path:
    files = [dataclasses.replace(file, name=f"{last}/{file.name}") for file in source.files()]
    if not files:
        raise DataError(
            f"DATA {copy.display_name}: contains no images or tables",
            hint="check the URL; a web folder needs an index page that lists its files",
        )
    missing = copy.fetch(source.filesystem, files, on_progress=on_progress)
    if missing:
        raise DataError(
            f"DATA {copy.display_name}: {len(missing)} files are listed but do not exist, such as {missing[0][:200]}",
            hint="run this again if the folder is being changed",
        )
    copy.finish({file.name for file in files})
    return copy.folder / last
