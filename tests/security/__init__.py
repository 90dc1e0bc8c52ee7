"""What another ordinary user of the machine can do to a run: nothing."""
