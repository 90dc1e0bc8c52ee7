"""The launcher as users start it, over the stand-in for DALI."""
