"""The flags of a command, made from the fields of its config: each is declared once, there.

Typer passes text on as it was typed; pydantic parses it, as it parses YAML.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import typer

from resnet_cli.cli.completion import complete_data, complete_device, complete_model
from resnet_cli.config.base import MACHINE, Config, Flag, flag_name, flag_of
from resnet_cli.config.units import Written

#: Field name -> what the user typed, for the fields that were given.
Flags: TypeAlias = Mapping[str, Any]
#: Other spellings of a flag, which every command that has the flag accepts.
ALIASES = {"--out": ("-o", "--output")}
_VALUES = {int: "N", float: "NUMBER", Path: "PATH"}


def takes(
    config: type[Config], *, essential: Sequence[str] = (), omit: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the flags of a config.

    Args:
        config: Every field that declares a :class:`~resnet_cli.config.base.Flag` becomes a flag.
        essential: The parameters that ``-h`` shows, in this order; ``--help-all`` shows all. Empty: ``-h`` shows all,
            too.
        omit: Fields that have no effect in this command.

    Returns:
        A decorator for a function with a keyword parameter ``flags``; its other parameters stay as they are.
    """
    declared = {name: flag for name in config.model_fields if (flag := flag_of(config, name)) and name not in omit}
    # What is about the machine comes last in the help, though it is inherited and so declared first.
    fields = sorted(declared, key=lambda name: declared[name].panel == MACHINE)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {name: value for name in fields if (value := _given(config, name, values.pop(name))) is not None}
            command(flags=given, **values)

        hints = get_type_hints(command, include_extras=True)
        parameters = []
        for own in inspect.signature(command).parameters.values():
            if own.name != "flags":
                parameters.append(own.replace(annotation=hints[own.name]))
                continue
            parameters += [_parameter(config, name, declared[name]) for name in fields]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        # Read by ``Command``, which writes the help.
        run.essential = essential  # type: ignore[attr-defined]
        # Typer would look for the annotations there.
        del run.__wrapped__
        return run

    return decorate


def examples(*commands: str, docs: str) -> str:
    """The last lines of a command's help.

    Args:
        commands: Examples to type.
        docs: The page with more information, below ``docs/``.
    """
    return "\n".join(["Examples:", *(f"  {command}" for command in commands), f"More: docs/{docs}"])


def _given(config: type[Config], name: str, value: Any) -> Any:
    """The value of a field as the user gave it; None if there is none."""
    flag = flag_of(config, name)
    if not isinstance(value, bool):
        return value or None if isinstance(value, list) else value
    if flag and flag.two_way:
        return value
    if config.model_fields[name].default is True:
        return False if value else None
    return value or None


def _parameter(config: type[Config], name: str, flag: Flag) -> inspect.Parameter:
    field = config.model_fields[name]
    is_two_way = flag.two_way
    is_switch = set(_leaves(field.annotation)) <= {bool}
    spelled = flag_name(config, name)
    declared = [f"{spelled}/--no-{name.replace('_', '-')}" if is_two_way else spelled, *ALIASES.get(spelled, ())]
    default = flag.default or (None if field.default in (None, ()) or is_switch else _as_text(field.default))
    option = typer.Option(
        *([*declared, flag.short] if flag.short else declared),
        help=flag.help,
        show_default=default if default is not None else False,
        rich_help_panel=flag.panel,
        envvar=flag.envvar,
        metavar="" if is_switch else flag.metavar or _metavar(field.annotation, field.metadata),
        autocompletion=_completer(field.annotation, flag),
    )
    kind: Any = bool if is_switch else list[str] if _is_list(field.annotation) else str
    if Path in _leaves(field.annotation):
        kind = Path
    absent = False if is_switch and not is_two_way else None
    value = kind if absent is False else kind | None
    annotation = Annotated[value, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=absent, annotation=annotation)


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types and literal values that an annotation allows, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        written = [one for one in get_args(annotation)[1:] if isinstance(one, Written)]
        yield from written or _leaves(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _leaves(part)
    elif origin is Literal:
        yield from get_args(annotation)
    elif annotation is not type(None):
        yield annotation


def _is_list(annotation: Any) -> bool:
    return any(get_origin(leaf) in (list, tuple) for leaf in _leaves(annotation))


def _metavar(annotation: Any, metadata: list[Any]) -> str:
    """``N``, ``PATH``, or ``[auto|N]`` where there is a choice."""
    outer = [one for one in metadata if isinstance(one, Written)]
    names = []
    for leaf in outer or _leaves(annotation):
        if isinstance(leaf, Written):
            names.append(leaf.name.upper())
        elif isinstance(leaf, str):
            names.append(leaf)
        else:
            names.append(_VALUES.get(leaf, "TEXT"))
    return names[0] if len(names) == 1 else f"[{'|'.join(names)}]"


def _completer(annotation: Any, flag: Flag) -> Callable[[str], list[str]] | None:
    if flag.completes is not None:
        return {"data": complete_data, "model": complete_model, "device": complete_device}[flag.completes]
    choices = [leaf for leaf in _leaves(annotation) if isinstance(leaf, str)]
    if not choices:
        return None
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]
