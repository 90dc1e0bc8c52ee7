"""Apptainer images (SIF): which one a run is made with, and what is in it."""
