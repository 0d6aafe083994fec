"""Tests of what is in deploy/; run by `make test`."""
