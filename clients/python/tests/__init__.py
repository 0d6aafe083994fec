"""Tests of the Python client; run from the repository's root with `make test`, or here with `python3 -m unittest`."""
