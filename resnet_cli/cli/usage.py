"""Errors in what was typed, in the words of every other error: what is wrong, and what to type instead."""

from __future__ import annotations

import shlex
from typing import Any

from resnet_cli.cli import COMMANDS, SYNONYMS
from resnet_cli.cli.help import HELP_ALL
from resnet_cli.config.nearest import nearest
from resnet_cli.errors import ConfigError


def unknown_command(words: list[str]) -> ConfigError:
    """The error for a command that does not exist.

    Args:
        words: What was typed, from the command's name on.
    """
    meant = nearest(words[0], [*COMMANDS, *SYNONYMS])
    meant = SYNONYMS.get(meant or "", meant)
    hint = shlex.join(["resnet-cli", meant, *words[1:]]) if meant else f"one of {', '.join(COMMANDS)}"
    return ConfigError(f"there is no command '{words[0]}'", hint=hint)


def usage_error(error: Any) -> ConfigError:
    """What typer found wrong with the arguments.

    Args:
        error: One of its usage errors, told apart by their attributes, as their classes have no public names.
    """
    context = error.ctx
    command = context.command_path if context else "resnet-cli"
    help_all = f"for all flags: {command} {HELP_ALL}"
    parameters = context.command.params if context else []
    if hasattr(error, "possibilities"):
        flags = [flag for one in parameters for flag in (*one.opts, *one.secondary_opts) if flag.startswith("-")]
        meant = nearest(error.option_name, flags)
        return ConfigError(
            f"{command} has no flag {error.option_name}", hint=f"did you mean {meant}? " * bool(meant) + help_all
        )
    if hasattr(error, "param_type"):
        name = error.param.metavar or error.param.name.upper()
        return ConfigError(f"{command} needs {name}", hint=_example(context) or help_all)
    if hasattr(error, "option_name"):
        needs = "needs a value" if "requires" in error.message else "takes no value"
        return ConfigError(f"{error.option_name} {needs}", hint=help_all)
    if "unexpected extra argument" in error.message:
        extra = error.message.partition("(s) (")[2].removesuffix(")")
        return ConfigError(
            f"{command}: unexpected argument {extra}", hint=f"quote a name with spaces; for help: {command} -h"
        )
    return ConfigError(error.format_message(), hint=help_all)


def _example(context: Any) -> str | None:
    """The first example of a command's help."""
    lines = (context.command.epilog or "").split("\n")
    return next((line.strip() for line in lines if line.startswith("  ")), None)
