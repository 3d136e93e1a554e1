"""``hf:OWNER/NAME``: the data files of a data set on the Hugging Face Hub; its loading scripts are never run.

Files are stored in the Hub's own cache, so that other tools share them. For each commit, our cache has what the local
readers need: real files instead of the Hub cache's links, and the images of Parquet files as files beside one table.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.fetching.archives import WANTED_VERSION, is_archive_name
from resnet_cli.data.sources.fetching.hub_files import TABLE_NAME, build_once, link_files, unpack_shards
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.tables.candidates import NOT_LOOKED_FOR
from resnet_cli.data.sources.tables.formats import TABLE_EXTENSIONS, is_table_name
from resnet_cli.data.sources.tables.table import read_table
from resnet_cli.errors import DataError, NetworkError, ResnetCliError, missing_extra
from resnet_cli.images import EXTENSIONS, is_image_name
from resnet_cli.network.hub import quiet_retries, silent_bar
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.network.retry import explain
from resnet_cli.system.paths import check_space

_SPEC = re.compile(r"hf:(?P<repo>[\w.-]+/(?P<name>[\w.-]+))(?P<part>(?:/[^@/\\]+)*)/?(?:@(?P<revision>[^@\s]+))?")
_USAGE = "write hf:OWNER/NAME, hf:OWNER/NAME/FOLDER or hf:OWNER/NAME@REVISION"
_ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class _Repo:
    """A data set on the Hub, or one folder or archive in it."""

    id: str
    name: str
    part: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf:{self.id}" + (f"/{self.part}" if self.part else "") + (f"@{self.revision}" if self.revision else "")


def localize_hub(
    spec: str, *, offline: bool, on_progress: OnProgress | None, columns: Mapping[str, str | None]
) -> Path:
    """Downloads a data set of the Hub into the cache.

    If there are several configurations (folders with Parquet files of their own), ``default`` is used. Parquet files
    whose names denote no split are skipped if other names do. A table that is written here has the column names that
    ``columns`` ask for.

    Args:
        spec: ``hf:OWNER/NAME[/FOLDER or archive][@REVISION]``.
        offline: Use only the Hub's cache.
        on_progress: Called with the bytes received so far and the total.
        columns: Passed on to :func:`~resnet_cli.data.sources.tables.table.read_table`.

    Returns:
        A local folder, archive or table.

    Raises:
        DataError: There is no such data set, it has several configurations, or it contains nothing of use.
        NetworkError: It cannot be downloaded.
        SetupError: A package is not installed.
        DiskError: The cache cannot be written, or the disk is full.
        ConfigError: A requested column does not exist.
    """
    repo = _parse(spec)
    quiet_retries()
    with _explained(repo):
        if offline:
            part, snapshot = _find_snapshot(repo)
        else:
            part, sizes = _choose_part(repo)
            check_space(_hub_cache(), sum(sizes), str(repo))
            snapshot = _download(repo, part, on_progress=on_progress, total=sum(sizes))
    found = [path for path in _walk(snapshot / part) if _is_data((snapshot / part / path).name)]
    return _settle(repo, part, snapshot, found, columns=columns)


def _parse(spec: str) -> _Repo:
    found = _SPEC.fullmatch(spec)
    part = found["part"].strip("/") if found else ""
    if not found or {".", ".."} & {found["name"], *part.split("/")}:
        raise DataError(f"DATA {spec[:200]!a}: not the name of a data set on the Hub", hint=_USAGE)
    return _Repo(found["repo"], found["name"], part, found["revision"])


def is_wanted(path: Path) -> bool:
    """Whether the reader of folders uses a file of that name: an image, or a table that may label images."""
    return is_image_name(path) or (is_table_name(path) and path.suffix.lower() not in NOT_LOOKED_FOR)


def _is_data(path: str) -> bool:
    return is_wanted(Path(path)) or is_archive_name(Path(path).name)


def _choose_part(repo: _Repo) -> tuple[str, list[int]]:
    """The folder or archive to download, and the sizes of its files."""
    from huggingface_hub import HfApi

    listing = HfApi().list_repo_tree(repo.id, repo_type="dataset", revision=repo.revision, recursive=True)
    sizes = {file.path: file.size for file in listing if hasattr(file, "size") and _is_data(file.path)}
    part = _config(repo, (path for path in sizes if _is_below(path, repo.part))) or repo.part
    chosen = [size or 0 for path, size in sizes.items() if _is_below(path, part)]
    if not chosen:
        raise DataError(f"DATA {repo}: contains no images, tables or archives", hint=_USAGE)
    return part, chosen


def _is_below(path: str, part: str) -> bool:
    return not part or path == part or path.startswith(f"{part}/")


def _config(repo: _Repo, paths: Iterable[str]) -> str:
    """The folder of the configuration to use; empty if there is nothing to choose from."""
    folders = sorted({_config_folder(path) for path in paths if path.lower().endswith(".parquet")})
    if len(folders) < 2:
        return ""
    default = [folder for folder in folders if PurePosixPath(folder).name == "default"]
    if len(default) != 1:
        raise DataError(
            f"DATA {repo}: has {len(folders)} configurations: {', '.join(name or '(top)' for name in folders[:20])}",
            hint=f"choose one: hf:{repo.id}/{next(filter(None, folders))}",
        )
    return default[0]


def _config_folder(path: str) -> str:
    """The configuration: CONFIG of ``CONFIG/train-00000-of-00001.parquet`` and of ``CONFIG/train/0000.parquet``."""
    folder = PurePosixPath(path).parent
    while folder.name.lower() in SPLIT_NAMES:
        folder = folder.parent
    return "" if folder == PurePosixPath(".") else folder.as_posix()


def _patterns(part: str) -> list[str]:
    """Patterns of the files to download: ``*.[jJ][pP][gG]`` and so on, since the Hub's patterns are case-sensitive."""
    if is_archive_name(PurePosixPath(part).name):
        return [_literal(part)]
    prefix = _literal(f"{part}/") if part else ""
    extensions = sorted(EXTENSIONS | TABLE_EXTENSIONS - NOT_LOOKED_FOR | set(_ARCHIVES))
    either = ("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in extension) for extension in extensions)
    return [f"{prefix}*{extension}" for extension in either]


def _literal(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _download(
    repo: _Repo, part: str, *, offline: bool = False, on_progress: OnProgress | None = None, total: int | None = None
) -> Path:
    from huggingface_hub import snapshot_download

    # It has one bar for bytes from the network, one for bytes on the disk, and one for files.
    bar = silent_bar(
        on_progress, counts=lambda bar: bar.get("unit") == "B" and "total" in str(bar.get("desc")), total=total
    )
    return Path(
        snapshot_download(
            repo.id,
            repo_type="dataset",
            revision=repo.revision,
            allow_patterns=_patterns(part),
            local_files_only=offline,
            tqdm_class=bar,
        )
    )


def _find_snapshot(repo: _Repo) -> tuple[str, Path]:
    """The folder or archive in the Hub's cache, where at most one of several configurations may be present."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot = _download(repo, repo.part, offline=True)
    except LocalEntryNotFoundError:
        if repo.part:
            raise
        return "default", _download(repo, "default", offline=True)
    paths = (path.as_posix() for path in _walk(snapshot))
    return _config(repo, (path for path in paths if _is_below(path, repo.part))) or repo.part, snapshot


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


@contextlib.contextmanager
def _explained(repo: _Repo) -> Iterator[None]:
    """Turns the errors of the Hub's library into our own."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise missing_extra(f"{repo} needs huggingface_hub, which is not installed", "hub") from error
    sign_in = "hf auth login, or export HF_TOKEN=..."
    unknown = DataError(
        f"DATA {repo}: no such data set on the Hub, or it is private",
        hint=f"check the name; for a private one: {sign_in}",
    )
    try:
        yield
    except ResnetCliError:
        raise
    except errors.GatedRepoError as error:
        raise NetworkError(
            f"{repo}: its owner requires that you accept terms", hint=f"accept them on its page, then {sign_in}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise unknown from error
    except (errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise DataError(f"DATA {repo}: no such revision or name", hint=_USAGE) from error
    except errors.LocalEntryNotFoundError as error:
        raise NetworkError(
            f"{repo}: it is not completely in the Hub's cache, and the Hub cannot be reached",
            hint="run this once with a network and without --offline",
        ) from error
    except Exception as error:  # errors of its HTTP library depend on its version
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 404):
            raise unknown from error
        if isinstance(status, int):
            raise NetworkError(f"{repo}: HTTP {status}", hint=f"if it is private: {sign_in}") from error
        raise explain(error, str(repo)) from error


def _walk(folder: Path) -> list[Path]:
    """All files below a folder, relative to it; for a file, the file itself."""
    if folder.is_file():
        return [Path()]
    found = (Path(root, file) for root, _, files in os.walk(folder) for file in files)
    return sorted(path.relative_to(folder) for path in found)


def _settle(
    repo: _Repo, part: str, snapshot: Path, found: Sequence[Path], *, columns: Mapping[str, str | None]
) -> Path:
    """Prepares an archive, a table of unpacked images, or a folder of real files for the local readers."""
    base = snapshot / part
    # The readers reject links, and the Hub's cache consists of links.
    files = {path.as_posix(): base / path for path in found}
    shards = [name for name in files if name.lower().endswith(".parquet")]
    archives = [name for name in files if is_archive_name((base / name).name)]
    images = [name for name in files if is_image_name(Path(name))]
    key = f"hf:{repo.id}/{part}@{snapshot.name}#{WANTED_VERSION}"
    if shards and next(read_table(files[shards[0]], **columns).rows).data is not None:
        key += repr(sorted((role, name) for role, name in columns.items() if name))
        held = {name: files[name] for name in shards}
        return build_once(key, repo.name, lambda folder: unpack_shards(held, folder, columns)) / TABLE_NAME
    if archives and not images:
        if len(archives) > 1:
            raise DataError(
                f"DATA {repo}: has {len(archives)} archives: {', '.join(archives[:20])}",
                hint=f"choose one: hf:{repo.id}/{'/'.join(filter(None, (part, archives[0])))}",
            )
        (archive,) = (base / name for name in archives)
        return build_once(key, repo.name, lambda folder: link_files({archive.name: archive}, folder)) / archive.name
    if not images and not shards:
        raise DataError(f"DATA {repo}: contains no images, Parquet files or archives", hint=_USAGE)
    return build_once(key, repo.name, lambda folder: link_files(files, folder))
