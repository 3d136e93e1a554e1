"""``python -m resnet_cli``."""

import os
import sys
from importlib.machinery import PathFinder

import resnet_cli


def _leave_current_folder() -> None:
    """Takes the current folder out of the search for modules, where ``python -m`` puts it first.

    It may have folders and files with the names of packages, such as the ``openvino`` of an export. If this package
    itself was found there, as in a clone, the folder is searched last, also by the processes that are started.
    """
    if sys.flags.safe_path:
        return
    current = sys.path.pop(0)
    found = PathFinder.find_spec("resnet_cli", sys.path)
    if found is None or found.origin is None or not os.path.samefile(found.origin, resnet_cli.__file__):
        sys.path.append(current)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([before, current] if before else [current])


if __name__ == "__main__":
    _leave_current_folder()
    from resnet_cli.cli import main

    main()
