"""Over the real DALI, where DALI_HOME is set."""
