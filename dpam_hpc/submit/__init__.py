"""From a working folder to jobs: plan, preflight, scripts, submission."""
