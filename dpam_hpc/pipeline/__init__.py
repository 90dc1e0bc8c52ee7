"""dpam's other steps: what each reads, writes and needs; judging its files; calling dpam."""
