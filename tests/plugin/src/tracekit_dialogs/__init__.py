"""Dialogue files for tracekit: a dialect and a container of a third party."""
