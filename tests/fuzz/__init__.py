"""Every reader of texts that this program did not write, on arbitrary and on bent genuine texts."""
