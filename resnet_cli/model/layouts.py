"""Finds a ResNet-50 among the tensors of another program, however these are named and wrapped.

Trainers wrap a network in other modules, which put prefixes before its names (``module.backbone.conv1.weight``), and in
checkpoints, which put dicts around it. Both are found by the data: every name of one tensor of the first block, in each
known layout of names, begins a copy of a network.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_cli.errors import ModelError
from resnet_cli.model.architectures import name_family, name_lookalike, name_variant
from resnet_cli.model.network import NUM_FEATURES, ResNet50
from resnet_cli.model.tensor_files import is_plain
from resnet_cli.model.tensor_names import LAYOUTS, Layout
from resnet_cli.text import counted, first_of, shorten

#: Segments that wrappers of PyTorch put anywhere into a name: torch.compile, FSDP and activation checkpointing.
#: Source: torch._dynamo.eval_frame, torch.distributed.fsdp, torch.distributed.algorithms._checkpoint.
_WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
#: How many dicts a checkpoint may nest, and have in all: an optimizer has one for each parameter.
MAX_DEPTH, MAX_DICTS = 6, 100_000
#: How many copies of a network are looked for in one dict, in one layout of names.
MAX_COPIES = 100
#: Words in the names of copies that are averages of others, and better; and of those that others are better than. MoCo
#: and BYOL are evaluated with the encoder that gradients train, DINO with the teacher, timm and torchvision with EMA.
#: Source: main_lincls.py of facebookresearch/moco; section 3 of https://arxiv.org/abs/2006.07733; eval_linear.py of
#: facebookresearch/dino; load_state_dict of timm/models/_helpers.py.
_BETTER, _WORSE = {"ema", "teacher", "swa", "averaged"}, {"momentum", "k", "key", "target", "student"}
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_COUNTER = "num_batches_tracked"
_HEAD = re.compile(r"(?:^|\.)(?:fc|head|heads|classifier|linear|last_linear|logits|cls)(?:\.\d+)?$")
_HINT = "give ResNet-50 weights, such as torchvision's or timm's resnet50, or a model of this program"


@dataclasses.dataclass(frozen=True)
class FoundNetwork:
    """A ResNet-50 that was found in a file.

    Attributes:
        tensors: The backbone under torchvision's names, and ``fc.weight`` and ``fc.bias`` if there is a linear head.
        num_outputs: Outputs of that head; None if there is none.
        reading: How it was found, in words: ``state_dict without "module."``.
        matched: How many tensors of the backbone there are: ``318 of 318 backbone tensors``.
        unused: Names of other tensors in the same place.
    """

    tensors: Mapping[str, Tensor]
    num_outputs: int | None
    reading: str
    matched: str
    unused: tuple[str, ...]

    def describe(self, *, uses_head: bool = False) -> str:
        """The text for a plan: where the network was found, how many tensors matched, and what is not used."""
        text = f"{self.reading}: {self.matched}" if self.reading else self.matched
        if self.num_outputs is not None and not uses_head:
            text += f", head of {counted(self.num_outputs, 'output')} not used"
        if self.unused:
            names = first_of([shorten(name, 40) for name in self.unused], 1)
            text += f", {counted(len(self.unused), 'other tensor')} not used ({names})"
        return text


@dataclasses.dataclass(frozen=True)
class _Copy:
    """The tensors of one place that may be a ResNet.

    Attributes:
        place: Keys of the dicts around it.
        prefix: What all names begin with, without wrappers.
        shown: The same, as it is in the file.
        layout: How they are named.
        backbone: Tensors under torchvision's names.
        others: Tensors with the prefix that are not part of the backbone, without it.
        table: All tensors of the place, without wrappers.
    """

    place: tuple[str, ...]
    prefix: str
    shown: str
    layout: Layout
    backbone: Mapping[str, Tensor]
    others: Mapping[str, Tensor]
    table: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        """Where it is, for messages: ``state_dict without "module."``."""
        parts = [shorten(".".join(self.place), 60)] if self.place else []
        if self.shown:
            parts.append(f'without "{shorten(self.shown, 60)}"')
        if self.layout.label:
            parts.append(f"in the layout of {self.layout.label}")
        return " ".join(parts)

    @property
    def rank(self) -> int:
        """0 for a copy that is preferred, 2 for one that others are preferred to."""
        words = set(re.split(r"[^a-z0-9]+", " ".join((*self.place, self.prefix)).lower()))
        return 0 if words & _BETTER else 2 if words & _WORSE else 1


def find_network(state: Any, path: Path) -> FoundNetwork:
    """Finds the ResNet-50 in the content of a weights file.

    Args:
        state: Result of :func:`resnet_cli.model.tensor_files.read_state`.
        path: The file, for messages.

    Raises:
        ModelError: There is none, or it is of another architecture, which the message names.
    """
    if name := name_lookalike(state, path.name):
        raise ModelError(f"{path}: {name}; its tensors have the shapes of a ResNet-50's", hint=_HINT)
    tables = list(_tables(state))
    expected = _expected_shapes()
    copies = [copy for place, table in tables for copy in _copies(place, table)]
    whole = [copy for copy in copies if not _differences(copy, expected)]
    if not whole:
        raise _no_network(state, copies, tables, expected, path=path)
    best = min(whole, key=lambda copy: copy.rank)
    tensors, unused = dict(best.backbone), {best.prefix + name: name for name in best.others}
    head = _find_head(best, [copy for copy in copies if copy.place == best.place])
    for part in ("weight", "bias") if head else ():
        tensors[f"fc.{part}"] = best.table[f"{head}.{part}"]
        unused.pop(f"{head}.{part}", None)
    reading = best.name
    if len(whole) > 1:
        others = first_of([copy.name or "the top level" for copy in whole if copy is not best], 2)
        reading = f"{reading or 'the top level'}, one of {len(whole)} copies (not {others})"
    return FoundNetwork(
        tensors, len(tensors["fc.bias"]) if head else None, reading, _count(best, expected), tuple(unused.values())
    )


def _count(copy: _Copy, expected: Mapping[str, torch.Size]) -> str:
    num_found = sum(name in copy.backbone for name in expected)
    # Nothing else can be missing in a whole copy.
    note = "" if num_found == len(expected) else " (the others are step counters of BatchNorm)"
    return f"{num_found} of {len(expected)} backbone tensors{note}"


def _expected_shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = ResNet50(1)
    return {name: tensor.shape for name, tensor in network.backbone_state().items()}


def _tables(state: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """All dicts with tensors, the outermost first, each with the keys that lead to it."""
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), state)])
    seen = {id(state)}
    while waiting:
        place, value = waiting.popleft()
        if not isinstance(value, Mapping):
            continue
        tensors = {key: tensor for key, tensor in value.items() if isinstance(key, str) and is_plain(tensor)}
        if tensors:
            yield place, tensors
        for key, inner in value.items():
            # A hostile file may nest the same dict in itself, many times.
            is_new = isinstance(inner, Mapping) and id(inner) not in seen and len(seen) < MAX_DICTS
            if is_new and len(place) < MAX_DEPTH:
                seen.add(id(inner))
                waiting.append(((*place, str(key)), inner))


def _copies(place: tuple[str, ...], table: Mapping[str, Tensor]) -> Iterator[_Copy]:
    """What may be a ResNet in one table."""
    originals: dict[str, str] = {}
    for name in table:
        originals.setdefault(_WRAPPERS.sub("", name), name)
    clean = {name: table[original] for name, original in originals.items()}
    for layout in LAYOUTS:
        prefixes: dict[str, str] = {}
        for anchor in layout.anchors:
            for name, original in originals.items():
                if f".{name}".endswith(f".{anchor}"):
                    prefix = name.removesuffix(anchor)
                    # A wrapper inside the network's own names is as much a part of the reading as one before them.
                    inside = prefix or "".join(dict.fromkeys(_WRAPPERS.findall(original)))
                    prefixes.setdefault(prefix, original.removesuffix(anchor) if original.endswith(anchor) else inside)
        for prefix, shown in itertools.islice(prefixes.items(), MAX_COPIES):
            inner = {name.removeprefix(prefix): x for name, x in clean.items() if name.startswith(prefix)}
            renamed = {name: layout.rename(name) for name in inner}
            backbone = {new: inner[name] for name, new in renamed.items() if new is not None}
            others = {name: inner[name] for name, new in renamed.items() if new is None}
            yield _Copy(place, prefix, shown, layout, backbone, others, clean)


def _differences(copy: _Copy, expected: Mapping[str, torch.Size]) -> list[str]:
    """What keeps a copy from being a ResNet-50, in words; counters of BatchNorm may be missing."""
    found = copy.backbone
    wrong = [f"no '{name}'" for name in expected if name not in found and not name.endswith(_COUNTER)]
    wrong += [f"unknown '{shorten(name, 60)}'" for name in found if name not in expected]
    for name, tensor in found.items():
        if name not in expected:
            continue
        if tensor.shape != expected[name]:
            wrong.append(f"'{name}' is {tuple(tensor.shape)}, not {tuple(expected[name])}")
        elif not name.endswith(_COUNTER) and tensor.dtype not in _FLOATS:
            wrong.append(f"'{name}' has the type {str(tensor.dtype).removeprefix('torch.')}")
    return wrong


def _find_head(copy: _Copy, copies: Sequence[_Copy]) -> str | None:
    """The name of a linear head: ``fc`` beside the backbone, or the only linear layer that is called like a head."""
    table = copy.table

    def is_head(name: str) -> bool:
        weight, bias = table.get(f"{name}.weight"), table.get(f"{name}.bias")
        if weight is None or bias is None or bias.ndim != 1 or len(bias) == 0:
            return False
        return weight.shape == (len(bias), NUM_FEATURES) and {weight.dtype, bias.dtype} <= _FLOATS

    if is_head(f"{copy.prefix}fc"):
        return f"{copy.prefix}fc"
    foreign = tuple(other.prefix for other in copies if not copy.prefix.startswith(other.prefix))
    names = [name.removesuffix(".weight") for name in table if name.endswith(".weight")]
    heads = [name for name in names if _HEAD.search(name) and is_head(name) and not name.startswith(foreign)]
    return heads[0] if len(heads) == 1 else None


def _no_network(
    state: Any,
    copies: Sequence[_Copy],
    tables: Sequence[tuple[tuple[str, ...], Mapping[str, Tensor]]],
    expected: Mapping[str, torch.Size],
    *,
    path: Path,
) -> ModelError:
    """The error for a file without a ResNet-50: what is in it instead."""
    if not tables:
        keys = [shorten(str(key), 40) for key in state] if isinstance(state, Mapping) else []
        has = f": it has {first_of(keys, 5)}, but no tensors" if keys else ""
        return ModelError(
            f"{path}: not a state dict of tensors{has}",
            hint="save the network's state dict: torch.save(model.state_dict(), 'weights.pth')",
        )
    if copies:
        nearest = min(copies, key=lambda copy: len(_differences(copy, expected)))
        wrong = _differences(nearest, expected)
        name = name_variant({**nearest.backbone, **nearest.others})
        more = f" and {len(wrong) - 3} more differences" if len(wrong) > 3 else ""
        num_same = sum(name in nearest.backbone and nearest.backbone[name].shape == expected[name] for name in expected)
        but = name or f"{num_same} of the {len(expected)} tensors of its backbone"
        what = f"not a ResNet-50 that this program can read, but {but}"
        place = f" ({nearest.name})" if nearest.name else ""
        return ModelError(f"{path}{place}: {what}: {'; '.join(wrong[:3])}{more}", hint=_HINT)
    if all(place and place[-1].isdecimal() for place, _ in tables):
        return ModelError(
            f"{path}: the state of an optimizer, without the weights of a network",
            hint="give the checkpoint with the network's state dict",
        )
    _, table = max(tables, key=lambda found: len(found[1]))
    what = name_family(table) or "another network"
    examples = first_of([shorten(name, 60) for name in table], 3)
    return ModelError(f"{path}: not a ResNet-50, but {what}: its tensors are {examples}", hint=_HINT)
