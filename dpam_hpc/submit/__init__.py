"""From a working folder to jobs: plan, preflight, scripts, submission. Knows no aligner's insides."""
