"""`runcast completion`: the script by which a shell completes commands and options."""

import argparse
from collections.abc import Callable
from typing import Any

import shtab

__all__ = ("add_to",)


def add_to(commands: Any, make_parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands in your shell",
        description="Prints a script for a shell.",
        epilog="examples:\n"
        '  eval "$(runcast completion bash)"                         # in ~/.bashrc\n'
        '  runcast completion zsh > "${fpath[1]}/_runcast"                   # once\n'
        "  runcast completion tcsh > ~/.runcast.csh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "shell",
        metavar="SHELL",
        choices=shtab.SUPPORTED_SHELLS,
        help=", ".join(shtab.SUPPORTED_SHELLS),
    )

    def run(arguments: argparse.Namespace) -> None:
        print(shtab.complete(make_parser(), shell=arguments.shell))

    parser.set_defaults(run=run)
