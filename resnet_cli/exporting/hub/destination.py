"""The repository and token of ``--push``, checked before anything is exported. No torch here."""

from __future__ import annotations

import dataclasses
import os
import re

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import ConfigError, NetworkError, SetupError, missing_extra
from resnet_cli.network import addresses, hub
from resnet_cli.network.download import is_offline
from resnet_cli.text import shorten

#: Environment variable with the token; tokens from other places are not used.
TOKEN = "HF_TOKEN"
TOKENS_PAGE = "https://huggingface.co/settings/tokens"


@dataclasses.dataclass(frozen=True)
class Destination:
    """A repository to write to.

    Attributes:
        repo: ``OWNER/NAME``.
        endpoint: Address of the Hub, which may contain a password.
        token: Access token; it is never shown.
    """

    repo: str
    endpoint: str = dataclasses.field(repr=False)
    token: str = dataclasses.field(repr=False)

    @property
    def url(self) -> str:
        """Address of the repository's page, without a password."""
        return f"{addresses.redact(self.endpoint)}/{self.repo}"


def destination(config: ExportConfig) -> Destination | None:
    """The destination of ``--push``; None without it. It uses no network and loads no large library.

    Raises:
        ConfigError: The value is not the name of a repository.
        NetworkError: The environment forbids network access.
        SetupError: huggingface_hub is not installed, or there is no token.
    """
    if config.push is None:
        return None
    try:
        weights = hub.parse(config.push) if config.push.startswith("hf:") else None
    except ConfigError:
        weights = None
    if weights is None or weights.revision is not None:
        raise ConfigError(
            f"--push {shorten(config.push, 200)}: not the name of a repository", hint="use the form hf:OWNER/NAME"
        )
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise missing_extra("--push needs huggingface_hub, which is not installed", "hub") from error
    for name, value in {"RESNET_CLI_OFFLINE": is_offline(False), "HF_HUB_OFFLINE": constants.HF_HUB_OFFLINE}.items():
        if value:
            raise NetworkError(f"--push {config.push}: offline ({name} is set)", hint=f"unset {name}")
    endpoint = constants.ENDPOINT
    if not addresses.is_private(endpoint):
        raise ConfigError(
            f"HF_ENDPOINT {addresses.redact(endpoint)}: the token would be sent there unencrypted",
            hint="use its https:// URL",
        )
    return Destination(weights.repo, endpoint, _token(config.push))


def _token(spec: str) -> str:
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise SetupError(
            f"--push {spec} needs a token in the environment: {TOKEN} is not set",
            hint=f"create one with write access ({TOKENS_PAGE}), then: export {TOKEN}=hf_...",
        )
    # The HTTP library's error about an invalid header would contain the token.
    if not re.fullmatch("[!-~]+", token):
        raise SetupError(f"{TOKEN} contains characters that no token has", hint=f"copy it again from {TOKENS_PAGE}")
    return token
