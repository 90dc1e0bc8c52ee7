"""Align: the iterative loop, its text, and the aligners behind one protocol."""
