"""The report of a run: what it reads, its figures, its pages."""
