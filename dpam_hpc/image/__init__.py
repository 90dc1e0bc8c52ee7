"""The Apptainer image: its sources, its build, what it proves of itself."""
