"""Lines for the end of each verb's help: commands as people call them."""

from __future__ import annotations

EXAMPLES = {
    "run": (
        "dpam-hpc run WORK --data-dir DATA --templates ecod70.bundle",
        "dpam-hpc run WORK --data-dir DATA --target A0A0K2WPR7 --dali-home ~/DaliLite.v5",
        "dpam-hpc run WORK --data-dir DATA --aligner tmalign    # without DALI",
        "dpam-hpc run WORK --show-settings                      # what counts, and why",
    ),
    "init": (
        "dpam-hpc init                                # looks, asks what it cannot find",
        "dpam-hpc init WORK --data-dir DATA --yes     # takes what it finds, asks nothing",
        "dpam-hpc init --platform leda --partition long --force",
    ),
    "doctor": (
        "dpam-hpc doctor WORK --data-dir DATA         # here",
        "dpam-hpc doctor --platform leda --partition long --on-node",
        "dpam-hpc doctor WORK --json",
    ),
    "probe": (
        "dpam-hpc probe WORK --data-dir DATA          # this machine",
        "dpam-hpc probe --platform leda --partition long --on-node",
        "dpam-hpc probe WORK --json",
    ),
    "submit": (
        "dpam-hpc submit WORK --dry-run               # the plan and the scripts",
        "dpam-hpc submit WORK --platform leda --partition long --image dpam.sif",
        "dpam-hpc submit --platform tacc-frontera --account A --nodes 8 --time 4:00:00",
        "dpam-hpc submit WORK --targets ids.txt --wait",
    ),
    "status": (
        "dpam-hpc status WORK",
        "dpam-hpc status --watch --every 30           # live, until nothing is queued",
        "dpam-hpc status WORK --json",
    ),
    "resume": (
        "dpam-hpc resume WORK",
        "dpam-hpc resume --dry-run                    # what is left, and how it would be cut",
        "dpam-hpc resume WORK --retry-failed --partition short --time 1:00:00",
    ),
    "cancel": ("dpam-hpc cancel", "dpam-hpc cancel WORK --json"),
    "logs": (
        "dpam-hpc logs                                # the ends of all logs",
        "dpam-hpc logs 3 --lines 100                  # of task 3",
        "dpam-hpc logs A0A0K2WPR7 -C WORK             # what is known of a target",
    ),
    "report": (
        "dpam-hpc report WORK -o run.html             # one page, no network",
        "dpam-hpc report --target P12345              # its hits, in 3D too",
        "dpam-hpc report --format md                  # a paragraph for Methods",
    ),
    "launch": (
        "dpam-hpc launch WORK/.dpam-hpc/runs/ID --task 3 --job 17 --node n1",
        "dpam-hpc launch RUN --task 0 --scratch /tmp --last-resort WORK",
    ),
    "bundle build": (
        "dpam-hpc bundle build DATA/ECOD70 -o ecod70.bundle",
        "dpam-hpc bundle build DATA/ECOD70 -o ecod70.bundle --workers 16 --scratch-dir /tmp",
    ),
    "bundle info": ("dpam-hpc bundle info ecod70.bundle", "dpam-hpc bundle info FILE --json"),
    "bundle verify": (
        "dpam-hpc bundle verify ecod70.bundle",
        "dpam-hpc bundle verify ecod70.bundle --data-dir DATA    # is it of these PDB files",
    ),
    "dali check": ("dpam-hpc dali check", "dpam-hpc dali check --dali-home ~/DaliLite.v5 --json"),
    "dali install": (
        "dpam-hpc dali install                        # fetched from its home, built, proven",
        "dpam-hpc dali install --source DaliLite.v5.tar.gz --prefix ~/software",
        "dpam-hpc dali install --faster --force       # linked statically, in place of the last",
    ),
    "image build": (
        "dpam-hpc image build -o dpam.sif",
        "dpam-hpc image build --source dali=DaliLite.v5.tar.gz --without-dpam",
        "dpam-hpc image build --offline --sources-dir DIR --arch x86_64",
    ),
    "image verify": (
        "dpam-hpc image verify dpam.sif",
        "dpam-hpc image verify dpam.sif --rebuild     # built anew, compared to the byte",
    ),
    "image inspect": (
        "dpam-hpc image inspect dpam.sif",
        "dpam-hpc image inspect dpam.sif --spdx       # the bill of materials",
    ),
    "image docker": (
        "dpam-hpc image docker dpam.sif -o dpam.tar",
        "dpam-hpc image docker dpam.sif -o dpam.tar --tag dpam:1",
    ),
    "image sources": (
        "dpam-hpc image sources",
        "dpam-hpc image sources --fetch DIR           # all that a build --offline takes",
        "dpam-hpc image sources --json --without-dpam",
    ),
    "image self-test": (
        "apptainer exec dpam.sif dpam-hpc image self-test",
        "dpam-hpc image self-test                     # inside",
    ),
    "platforms list": ("dpam-hpc platforms list", "dpam-hpc platforms list --json"),
    "platforms show": (
        "dpam-hpc platforms show tacc-frontera",
        "dpam-hpc platforms show leda --json",
    ),
    "platforms detect": ("dpam-hpc platforms detect", "dpam-hpc platforms detect --json"),
    "platforms check": (
        "dpam-hpc platforms check ~/.config/dpam-hpc/platforms/leda.toml",
        "dpam-hpc platforms check leda.toml --json",
    ),
}  # fmt: skip
"""By the verb's name."""
