"""Platforms: sites as data (TOML), where their files are, and which one this machine is."""
