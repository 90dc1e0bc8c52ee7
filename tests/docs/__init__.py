"""The documentation: its commands are run, its links and its site are checked (docs/testing.md)."""
