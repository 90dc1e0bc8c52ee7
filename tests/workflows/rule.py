"""The recipe is published, the image is not: what a workflow may not do.

DALI and dpam may not be passed on, and artefacts of a public repository are public. A job either
builds free images only, each with both options written out, or it is allowed a few things and no
others. What may build or give away is found in the raw text, so too much of it; that a build is
free must be seen in its words.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

ACTIONS = {
    "actions/checkout",
    "actions/download-artifact",
    "actions/setup-python",
    "actions/upload-artifact",
}
PINNED = re.compile(r"([\w-]+/[\w-]+)@[0-9a-f]{40}")
FREE = {"--without-dali", "--without-dpam"}
IMAGE = "dpam-hpc-free.sif"
# Of these no part of an image comes back.
TOLD = (".sif.sha256", ".sif.spdx.json")
RELEASED = (*TOLD, ".whl", ".tar.gz")
BUILDS = re.compile(
    r"\bbuild-image\b|\bimage\s+build\b|\b(?:apptainer|singularity)\b[^\n;|&]*\bbuild\b"
)
GIVES = re.compile(
    r"\bpush\b|\bgh\b|\boras\s|\bskopeo\b|\bcurl\b|\bwget\b|\brsync\b|\bscp\b|\bsftp\b|\btwine\b"
)
ONLY_WHEN_ASKED = (
    "startsWith(github.ref, 'refs/tags/v') ||"
    " github.event_name == 'workflow_dispatch' && inputs.whole"
)

Step = Mapping[str, Any]


def problems(workflow: Mapping[Any, Any]) -> list[str]:
    """What breaks the rule in a workflow, as a line each."""
    found = []
    if workflow.get("permissions") != {}:
        found.append("the workflow has permissions that not every job asks for")
    if "concurrency" not in workflow:
        found.append("no concurrency")
    # True: `on` of YAML 1.1
    triggers = workflow.get(True, workflow.get("on", ()))
    if isinstance(triggers, str):
        triggers = [triggers]
    found += [f"on: {t}" for t in ("pull_request_target", "workflow_run") if t in triggers]
    for name, job in workflow["jobs"].items():
        found += [f"{name}: {problem}" for problem in _job(job)]
    return found


def _job(job: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(job.get("permissions"), Mapping):
        yield "no permissions of its own"
    if "uses" in job:
        # A workflow of this folder is read itself, timeouts and all.
        if not re.fullmatch(r"\./\.github/workflows/\w+\.yml", job["uses"]):
            yield f"uses {job['uses']}"
        if "secrets" in job:
            yield "passes secrets on"
        return
    if "timeout-minutes" not in job:
        yield "no timeout-minutes"
    steps: list[Step] = job["steps"]
    for step in steps:
        yield from _action(step)
    scripts = [step["run"] for step in steps if "run" in step]
    builds = [_builds_of(script) for script in scripts]
    if all(all(of_script) for of_script in builds):
        yield from _gives(steps, scripts, built=any(builds))
    else:
        yield from _whole(job, steps, scripts)


def _action(step: Step) -> Iterator[str]:
    if "uses" not in step:
        return
    pinned = PINNED.fullmatch(step["uses"])
    if pinned is None:
        yield f"{step['uses']} is not pinned by its commit"
    elif pinned[1] not in ACTIONS:
        yield f"nobody has looked at what {pinned[1]} gives away"
    elif pinned[1] == "actions/checkout":
        if step.get("with", {}).get("persist-credentials") is not False:
            yield "checkout leaves its credentials"
    elif pinned[1] == "actions/download-artifact":
        inputs = step.get("with", {})
        if not str(inputs.get("name", inputs.get("pattern", ""))).startswith(("free-", "told-")):
            yield "downloads more than the free image"
        if inputs.keys() & {"run-id", "repository", "github-token", "artifact-ids"}:
            yield "downloads from another run"


def _builds_of(script: str) -> list[bool]:
    """Is it free, for each place in a script that may build an image."""
    places = len(BUILDS.findall(script))
    free = sum(
        command[0] == ".ci/build-image" and set(command[2:]) >= FREE for command in commands(script)
    )
    return [True] * min(free, places) + [False] * (places - free)


def commands(script: str) -> list[list[str]]:
    """The commands of a simple script; none where its quotes are beyond us."""
    lines = [re.sub(r"(^|\s)#.*", "", li) for li in script.replace("\\\n", " ").splitlines()]
    words = shlex.shlex("\n;".join(lines), posix=True, punctuation_chars=True)
    words.whitespace_split = True
    words.commenters = ""
    found: list[list[str]] = [[]]
    try:
        for word in words:
            if word and set(word) <= set("();<>|&"):
                found.append([])
            else:
                found[-1].append(word)
    except ValueError:
        return []
    return [command for command in found if command]


def _uploads(steps: list[Step]) -> Iterator[str]:
    for step in steps:
        if str(step.get("uses", "")).startswith("actions/upload-artifact@"):
            yield from str(step.get("with", {}).get("path", ".")).split("\n")


def _gives(steps: list[Step], scripts: list[str], built: bool) -> Iterator[str]:
    """Of a job that builds free images or none."""
    for path in filter(None, map(str.strip, _uploads(steps))):
        exact = not re.search(r"[*?\[{$!]", path)
        if not (path.endswith(RELEASED) or (built and exact and path.split("/")[-1] == IMAGE)):
            yield f"uploads {path}"
    for script in scripts:
        known = 0
        for command in commands(script):
            if command[:2] == ["apptainer", "push"]:
                known += 1
                if len(command) != 4 or command[2] != IMAGE:
                    yield f"pushes another image: {' '.join(command)}"
            elif command[:3] == ["gh", "release", "create"]:
                known += 1
                files = [w for w in command[4:] if not w.startswith("-")]
                yield from (f"releases {f}" for f in files if not f.endswith(RELEASED))
        if len(GIVES.findall(script)) != known:
            yield f"may give something away: {script!r}"


def _whole(job: Mapping[str, Any], steps: list[Step], scripts: list[str]) -> Iterator[str]:
    """Of a job that builds an image with DALI or dpam."""
    if job.get("if") != ONLY_WHEN_ASKED:
        yield "builds a whole image, and not only for a release or when asked to"
    if job.get("permissions") != {"contents": "read"} or job.keys() & {"outputs", "services"}:
        yield "builds a whole image, and may do more than read"
    for path in filter(None, map(str.strip, _uploads(steps))):
        if not path.endswith(TOLD) or re.search(r"[*?\[{$!]", path):
            yield f"builds a whole image and uploads {path}"
    for script in scripts:
        called = commands(script)
        if not called or "`" in script or "$" in script:
            yield f"builds a whole image, and runs what is not plain: {script!r}"
        for command in called:
            if command[0] not in {".ci/build-image", "echo"} and not command[0].startswith(
                "/proc/"
            ):
                yield f"builds a whole image and runs {command[0]}"
    for step in steps:
        if "actions/setup-python@" in str(step.get("uses")) or "shell" in step:
            yield "builds a whole image, and has steps that it does not need"
