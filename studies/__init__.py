"""Studies: each one command, which measures and writes its own page in `docs/studies/`."""
