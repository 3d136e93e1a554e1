"""YAML files of a config: plain mappings, without the features that hide mistakes and bombs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from resnet_cli.errors import ConfigError

#: A config is a page of text; anything larger is a mistake or an attack.
MAX_YAML_BYTES = 64 * 1024
#: Begins the first line of the ``config.yaml`` of a run; the command that made the run follows.
MADE_BY = "# Made by: "
# Source: YAML 1.2.2, 10.3.2, the core schema.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a mapping from a YAML file: no tags, no aliases, no duplicate keys, at most 64 KB.

    Returns:
        Keys to strings, None, and lists and mappings of them; a config's types parse the strings.

    Raises:
        ConfigError: The file is missing, too large, or not such a mapping.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror or error}") from error
    if len(data) > MAX_YAML_BYTES:
        raise ConfigError(f"{path}: {len(data):,} bytes, more than a config can have ({MAX_YAML_BYTES:,})")
    try:
        values = yaml.load(data.decode("utf-8"), Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: must be a mapping of names to values, such as 'epochs: 10'")
    return values


class _StrictLoader(yaml.BaseLoader):
    """Plain YAML: every scalar is a string or None, without the features that hide mistakes and bombs.

    The config's own types parse the strings. YAML 1.1 would read ``1e-3`` as text, and the class names
    ``no`` and ``007`` as False and 7.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        tag = getattr(self.peek_event(), "tag", None)  # type: ignore[no-untyped-call]
        if tag:
            raise yaml.YAMLError(f"tags ({tag}) are not allowed")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        # A style of None means no quotes.
        return None if node.style is None and node.value in _NULLS else super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"the key '{key.value}' occurs twice")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)
