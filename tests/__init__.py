"""Tests, in rings: pure, node, replay, launcher, real (docs/testing.md)."""
