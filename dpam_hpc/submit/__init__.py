"""On the login node: give jobs to a scheduler, and ask what became of them."""
