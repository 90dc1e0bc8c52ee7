"""The workflows of .github and the shell scripts: linters, and what they may give away."""
