"""dpam-hpc on a real SLURM cluster: a controller and two nodes in Docker containers."""
