"""The doors of the package for people: the command line and what it calls."""
