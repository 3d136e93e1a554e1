"""What somebody who mistyped a name, or knows it from another program, may have meant."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

#: More entries of a folder are not looked at: comparing names takes time.
_MAX_LISTED = 1_000
#: What other programs call a flag -> what it is called here; names that ``difflib`` would not find.
SYNONYMS = {
    "amp": "step_precision",
    "bs": "batch_size",
    "checkpoint": "weights",
    "conf": "threshold",
    "cuda": "device",
    "early_stopping": "patience",
    "fp16": "precision",
    "freeze": "unfreeze",
    "gpu": "device",
    "gpus": "devices",
    "img_size": "image_size",
    "imgsz": "image_size",
    "init": "weights",
    "learning_rate": "lr",
    "logger": "log_to",
    "mlflow": "log_to",
    "num_gpus": "devices",
    "output_dir": "out",
    "pretrained": "weights",
    "project": "out",
    "resolution": "image_size",
    "save_dir": "out",
    "top": "topk",
    "top_k": "topk",
    "wandb": "log_to",
    "wd": "weight_decay",
    "workers": "threads",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None if nothing is close.

    Args:
        word: What was typed; dashes and underscores are equal, and so are leading dashes and capitals.
        known: Names that exist.
    """
    plain = {_plain(name): name for name in known}
    typed = _plain(word)
    if (synonym := SYNONYMS.get(typed)) in plain:
        return plain[synonym]
    # First an abbreviation that says enough, such as --val-frac.
    begun = [name for name in plain if len(typed) > 2 and name.startswith(typed)]
    close = begun if len(begun) == 1 else difflib.get_close_matches(typed, plain, n=1, cutoff=0.65)
    return plain[close[0]] if close else None


def did_you_mean(typed: str, names: Iterable[str]) -> str:
    """The beginning of a hint, with a name or an existing path that is close to what was typed; empty if none is.

    Args:
        typed: A name or a path that does not exist.
        names: Names that could have been meant, besides what is in the folder of the path.
    """
    folder, name = os.path.split(typed.rstrip("/"))
    try:
        inside = os.listdir(folder or ".")[:_MAX_LISTED]
    except OSError:
        inside = []
    close = nearest(name, inside)
    meant = nearest(typed, names) or (close and os.path.join(folder, close))
    return f"did you mean {meant}? " if meant else ""


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()
