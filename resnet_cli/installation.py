"""The command that installs this package with an extra, in the way in which it is installed already.

The package is on no public package index, so the command depends on where the package came from. The installation's
own record says so: ``direct_url.json`` of its metadata.

Source: https://packaging.python.org/en/latest/specifications/direct-url/ (PEP 610).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

NAME = "resnet-cli"
_CLONE = Path(__file__).parents[1]


def install_command(extra: str = "", *, elsewhere: bool = False) -> str:
    """The command that installs this package with an extra.

    Args:
        extra: Name of the extra, such as ``serve``; empty for none.
        elsewhere: Whether it will be typed on another machine, which has none of this one's folders.
    """
    record = _record()
    extras = f"[{extra}]" if extra else ""
    what = _requirement(record, extras, elsewhere=elsewhere)
    if what is None:
        return f"pip install '.{extras}'  # in a clone of {NAME}"
    flag = "--editable " if record.get("dir_info", {}).get("editable") and not elsewhere else ""
    return f"{'pip install' if elsewhere else _installer()} {flag}{shlex.quote(what)}"


def _record() -> dict[str, Any]:
    """Where this installation came from; empty for a package index."""
    import importlib.metadata

    try:
        text = importlib.metadata.distribution(NAME).read_text("direct_url.json")
        found = json.loads(text) if text else {}
    except importlib.metadata.PackageNotFoundError:
        # Not installed: the package is imported from its clone.
        found = {"url": _CLONE.as_uri(), "dir_info": {"editable": True}}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _requirement(record: dict[str, Any], extras: str, *, elsewhere: bool) -> str | None:
    """What an installer is given: a path, or a requirement by name; None if the source is not on that machine."""
    url = record.get("url")
    if not isinstance(url, str):
        return f"{NAME}{extras}"
    if url.startswith("file:"):
        from urllib.request import url2pathname

        path = Path(url2pathname(url.removeprefix("file:").removeprefix("//")))
        return f"{path}{extras}" if path.exists() and not elsewhere else None
    vcs = record.get("vcs_info", {})
    at = f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url
    subdirectory = f"#subdirectory={record['subdirectory']}" if "subdirectory" in record else ""
    return f"{NAME}{extras} @ {at}{subdirectory}"


def _installer() -> str:
    """The installer whose marks this environment has, with the flag that replaces what is installed."""
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        return "pipx install --force"
    if os.path.exists(os.path.join(sys.prefix, "uv-receipt.toml")):
        return "uv tool install --force"
    import importlib.util

    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return f"uv pip install --python {shlex.quote(sys.prefix)}"
    # The pip of another environment would install it there.
    pip = shutil.which("pip")
    is_here = pip is not None and os.path.dirname(pip) == os.path.dirname(sys.executable)
    return "pip install" if is_here else f"{shlex.quote(sys.executable)} -m pip install"
