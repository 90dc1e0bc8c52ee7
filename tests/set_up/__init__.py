"""Set-up: init asks on a terminal; DALI is built from a source."""
