"""The verbs doctor and probe."""
