"""Makes every network of a process narrow, as in the tests; Python imports this where the folder is in PYTHONPATH.

The command itself is the installed one: only the module that defines the network is changed, after it is imported.
"""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

NETWORK = "resnet_cli.model.network"
TESTS = str(Path(__file__).parents[2] / "tests")


class _NarrowNetwork(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != NETWORK:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def execute_narrow(module: ModuleType) -> None:
            execute(module)
            module._stage = _stage  # type: ignore[attr-defined]

        spec.loader.exec_module = execute_narrow  # type: ignore[method-assign]
        return spec


def _stage(*sizes: Any, **options: Any) -> Any:
    if TESTS not in sys.path:
        sys.path.append(TESTS)
    # It imports the network, which has been imported by now.
    from support.narrow_network import stage

    return stage(*sizes, **options)


sys.meta_path.insert(0, _NarrowNetwork())
