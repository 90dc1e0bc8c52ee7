"""How fast the file systems of a node are, what that means for a run, and where it is kept."""
