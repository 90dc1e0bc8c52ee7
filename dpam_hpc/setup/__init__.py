"""Set-up: what a user does once. DALI built from its source; a working folder's settings file."""
