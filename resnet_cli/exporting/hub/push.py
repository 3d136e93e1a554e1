"""``--push hf:OWNER/NAME``: uploads an exported file, its card and ``config.json`` to the Hub in one commit."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnet_cli.config.base import flag_name
from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ConfigError, Interrupted, NetworkError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exporting.hub.card import hub_card, hub_config, read_card
from resnet_cli.exporting.hub.destination import TOKEN, TOKENS_PAGE, Destination
from resnet_cli.exporting.hub.exported_file import Exported
from resnet_cli.exporting.parity_result import Parity
from resnet_cli.model.model_file import Model
from resnet_cli.network import hub
from resnet_cli.text import one_line, shorten
from resnet_cli.version import __version__

README, CONFIG = "README.md", "config.json"
#: HTTP status if a token is wrong or has no access to the repository.
_REFUSED = {401, 403}


@dataclasses.dataclass(frozen=True)
class Pushed:
    """Where an uploaded file is.

    Attributes:
        url: Address of the repository's page.
        commit: The commit with the file.
        is_card_complete: Whether the card has no places left that only a person can fill in.
    """

    url: str
    commit: str
    is_card_complete: bool


class Push:
    """Uploads a file once it has passed the parity check.

    Args:
        to: The destination, from :func:`~resnet_cli.exporting.hub.destination.destination`.
        model: The model that is exported.
        config: The config of the export.

    Raises:
        ConfigError: The run's model card cannot be read.
    """

    def __init__(self, to: Destination, model: Model, config: ExportConfig) -> None:
        self._to, self._model, self._config = to, model, config
        self._card = read_card(model)

    def upload(
        self, path: Path, *, name: str, num_bytes: int, sha256: str, metadata: ExportMetadata, parity: Parity
    ) -> Pushed:
        """Creates the repository if necessary, and uploads all files in one commit.

        Args:
            path: The file or folder, which is kept.
            name: Name of the file in the repository; files of a folder keep their names.
            num_bytes: Bytes of all files.
            sha256: SHA-256 of the largest file.
            metadata: The metadata in the file.
            parity: The result of the parity check.

        Raises:
            ConfigError: The Hub rejects the card, or ``--private`` was given and the repository is public.
            NetworkError: The Hub cannot be reached or refuses the upload; at most an empty repository was created.
            Interrupted: A signal arrived; at most an empty repository was created.
        """
        files = {name: path}
        if path.is_dir():
            # A Core ML package is a folder of its own.
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            files = {file.relative_to(path).as_posix(): file for file in inside}
        exported = Exported(
            repo=self._to.repo,
            files=tuple(sorted(files, key=lambda name: files[name].stat().st_size)),
            format=self._config.format,
            num_bytes=num_bytes,
            sha256=sha256,
            metadata=metadata,
            parity=parity,
            license=self._config.licence,
        )
        card = hub_card(self._card, exported)
        contents: dict[str, bytes | str] = {README: str(card).encode(), CONFIG: hub_config(exported)}
        # A timm folder has its own config.json.
        contents |= {name: str(file) for name, file in files.items()}
        summary = f"{self._config.format} in {metadata.precision}, by resnet-cli {__version__}"
        try:
            commit = self._commit(contents, summary)
        except KeyboardInterrupt as stop:
            signal = stop.signal if isinstance(stop, Interrupted) else None
            raise Interrupted(f"{path} is kept, not pushed; push again: {self._again(path)}", signal=signal) from None
        except ConfigError as error:
            raise ConfigError(f"{error.message}; {path} is kept", hint=error.hint) from None
        # The type of the error depends on the version of the HTTP library. Not chained: the text may contain the token.
        except Exception as error:  # noqa: BLE001
            raise self._explained(error, path) from None
        return Pushed(self._to.url, commit, card.is_complete)

    def _commit(self, contents: dict[str, bytes | str], summary: str) -> str:
        from huggingface_hub import CommitOperationAdd, HfApi

        repo = self._to.repo
        with _silent():
            api = HfApi(self._to.endpoint, self._to.token, library_name="resnet-cli", library_version=__version__)
            api.create_repo(repo, private=self._config.private or None, exist_ok=True)
            if self._config.private and not api.repo_info(repo).private:
                raise ConfigError(
                    f"--private: {self._to.url} exists already and is public; nothing was pushed",
                    hint="make it private on its settings page, or remove --private",
                )
            operations = [
                CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in contents.items()
            ]
            try:
                made = api.create_commit(repo, operations, commit_message=summary)
            except ValueError as error:
                if README not in str(error):
                    raise
                raise ConfigError(f"the Hub rejects the model card: {self._one_line(error)}") from None
        return str(made.oid)

    def _explained(self, error: BaseException, path: Path) -> NetworkError:
        chain = list(_causes(error))
        again = f"push again: {self._again(path)}"
        for cause in chain:
            status = getattr(getattr(cause, "response", None), "status_code", None)
            if status is not None:
                reason = f"HTTP {status}, {self._one_line(getattr(cause, 'server_message', None) or cause)}"
                break
        else:
            status, reason = None, f"{self._to.url}: {self._one_line(chain[-1])}"
        if status in _REFUSED:
            reason = f"the token in {TOKEN} has no write access ({reason})"
            again = f"set {TOKEN} to one that has ({TOKENS_PAGE}), then {again}"
        return NetworkError(f"cannot push to hf:{self._to.repo}: {reason}; {path} is kept", hint=again)

    def _one_line(self, text: object) -> str:
        return shorten(one_line(text).replace(self._to.token, "..."), 300)

    def _again(self, path: Path) -> str:
        """The command that exports and uploads the file again."""
        words = ["resnet-cli", "export", *([str(self._model.path)] if self._model.path is not None else [])]
        for name, field in ExportConfig.model_fields.items():
            value = getattr(self._config, name)
            if value == field.default or name == "overwrite":
                continue
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [flag_name(ExportConfig, name), *([] if isinstance(value, bool) else [text])]
        # The file is there now.
        is_named = self._config.out is not None or path.is_dir()
        return shlex.join([*words, *(["--overwrite"] if is_named else [])])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Turns off progress bars, warnings and messages about retries of huggingface_hub."""
    # The library's type stubs lack these functions.
    utils: Any = importlib.import_module("huggingface_hub.utils")
    hub.quiet_retries()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        draws = not utils.are_progress_bars_disabled()
        utils.disable_progress_bars()
        try:
            yield
        finally:
            if draws:
                utils.enable_progress_bars()
