"""``python -m dpam_hpc``: the same as the command ``dpam-hpc``."""

from dpam_hpc.cli import main

main()
