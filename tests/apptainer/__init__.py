"""Images built and run by a real Apptainer, as an ordinary user."""
