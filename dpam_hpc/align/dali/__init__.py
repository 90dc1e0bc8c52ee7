"""DALI: DaliLite.v5's own programs, driven so that a batch gives what each pair gives alone."""
