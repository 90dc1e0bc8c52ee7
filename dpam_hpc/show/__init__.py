"""What verbs print of plans, runs and findings: for people, and as JSON for programs."""
