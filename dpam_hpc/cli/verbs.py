"""All verbs in the order of the help, each loaded only when it is called or explained."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer

from dpam_hpc.cli.options import PLAIN, Group


@dataclass(frozen=True)
class Verb:
    """A verb, or a group of them: where it is in ``dpam_hpc.cli``, and what the help says."""

    module: str
    attribute: str
    what: str
    hidden: bool = False


VERBS = {
    "run": Verb("run", "run", "Align proteins with their candidates; leave the hits."),
    "init": Verb("init", "init", "Set a working folder up: look, ask, write dpam-hpc.toml."),
    "doctor": Verb("doctor", "doctor", "Is everything there? A row a check, with what to do."),
    "probe": Verb("probe", "probe", "How fast scratch and shared folders are; what that means."),
    "submit": Verb("submit", "submit", "Submit a working folder to the cluster."),
    "status": Verb("status", "status", "Where the run that was submitted last stands."),
    "resume": Verb("submit", "resume", "Submit what is left of the last run."),
    "cancel": Verb("status", "cancel", "End the jobs of the last run; what is done stays."),
    "logs": Verb("status", "logs", "What tasks printed, or what is known of a target."),
    "report": Verb("report", "report", "A page on what a run did, what it cost, what failed."),
    "bundle": Verb("bundle", "app", "All templates imported, in one file."),
    "dali": Verb("dali", "app", "Build DALI; prove it."),
    "image": Verb("image", "app", "The Apptainer image: build, prove, explain it."),
    "platforms": Verb("platforms", "app", "Sites: which are known, and which one this is."),
    "launch": Verb("launch", "launch", "Work off a task on a node (job scripts do).", hidden=True),
}


class Verbs(Group):
    """The group of all verbs: it lists them without loading one."""

    show_hidden = False

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict.fromkeys(VERBS, self)  # names alone count: for "did you mean"

    def list_commands(self, ctx: Any) -> list[str]:
        """The names."""
        return [name for name, verb in VERBS.items() if self.show_hidden or not verb.hidden]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb, loaded; None if there is none."""
        return load(cmd_name) if cmd_name in VERBS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, VERBS[name].what) for name in self.list_commands(ctx)])


def load(name: str) -> Any:
    """A verb as a command for the parser, its help with examples."""
    verb = VERBS[name]
    found = getattr(import_module(f"dpam_hpc.cli.{verb.module}"), verb.attribute)
    if not isinstance(found, typer.Typer):
        app = typer.Typer(**PLAIN)
        app.command(name, hidden=verb.hidden)(found)
        found = app
    command: Any = typer.main.get_command(found)
    command.name = name
    _add_examples(command, name)
    return command


def _add_examples(command: Any, name: str) -> None:
    from dpam_hpc.cli.examples import EXAMPLES

    for below, each in getattr(command, "commands", {}).items():
        _add_examples(each, f"{name} {below}")
    if name in EXAMPLES:
        lines = "\n".join(f"  {line}" for line in EXAMPLES[name])
        command.epilog = f"\b\nExamples:\n{lines}"  # \b: the lines are left as they are
