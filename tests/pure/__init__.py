"""Tests without DALI and without a run: texts in, texts out."""
