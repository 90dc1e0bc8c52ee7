"""Tests of the node side, with files, processes and signals, but without DALI."""
