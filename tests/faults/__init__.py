"""Faults drawn from a seed: whatever happens on the way, the same bytes in the end."""
