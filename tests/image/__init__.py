"""Images without Apptainer and without a network: sources, checksums, SIF, what fails how."""
