"""The environment of a scheduler's commands, and so of the jobs that they start.

What is not named here is dropped. ``sbatch`` reads options from ``SBATCH_*``, which override the
script's own; the ``SLURM_*`` of an enclosing job would be taken for the new job's; and whatever
else the submitting shell has (OMP_*, APPTAINER_*, PYTHON*, LD_PRELOAD, TMPDIR) changes what runs
on the node, where the run would then differ from one user to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase

from dpam_hpc.errors import ConfigError

KEPT = {
    "PATH": "the commands, and what the script calls, are found by it",
    "LD_LIBRARY_PATH": "a scheduler that is a module finds its libraries by it",
    "HOME": "where the user's files are",
    "USER": "who submits",
    "LOGNAME": "who submits",
    "SHELL": "sites look at it in their prologs",
    "LANG": "text is read and written by it",
    "LC_*": "text is read and written by it",
    "TZ": "times in logs are the user's",
    "SLURM_CONF": "which cluster is meant; a test cluster has no other name",
    "SLURM_CLUSTERS": "which cluster of a federation is meant; no job sets it",
    "KRB5CCNAME": "home folders behind Kerberos open by it",
    "BASH_ENV": "defines `module` in a batch script, where the site does it so",
    "BASH_FUNC_module*": "is `module` in a batch script, where the site does it so",
    "BASH_FUNC_ml*": "the short name of `module`",
    "MODULEPATH": "where `module load` looks; all of a module system's state must match PATH",
    "MODULEPATH_ROOT": "the same",
    "MODULESHOME": "the same",
    "MODULES_*": "the same",
    "LOADEDMODULES": "the same",
    "_LMFILES_": "the same",
    "LMOD_*": "the same",
    "__LMOD_*": "the same",
    "_ModuleTable*": "the same",
    "TACC_*": "names the system, and its folders",
    "NERSC_HOST": "names the system",
    "SCRATCH": "a folder of the site that paths in settings may name",
    "PSCRATCH": "the same",
    "WORK": "the same",
    "STOCKYARD": "the same",
    "XDG_*_HOME": "where the user's settings are; XDG_RUNTIME_DIR is the login session's",
    "XDG_*_DIRS": "where the site's settings are",
    "DPAM_HPC_PLATFORM_PATH": "where descriptions of sites are",
}
"""Names or patterns of what is kept, each with its reason."""

TIMEOUT_VARIABLE = "DPAM_HPC_SCHEDULER_TIMEOUT"
DEFAULT_TIMEOUT = 30.0
"""Seconds that a scheduler's command may take; a busy one answers within a few."""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of ``environ`` a scheduler's commands get."""
    return {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, pattern) for pattern in KEPT)
    }


def scheduler_timeout(environ: Mapping[str, str]) -> float:
    """Seconds that one command may take; ConfigError if the variable is no such number."""
    text = environ.get(TIMEOUT_VARIABLE, "")
    if not text:
        return DEFAULT_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{TIMEOUT_VARIABLE} is no number of seconds: {text!r}")
    return seconds
