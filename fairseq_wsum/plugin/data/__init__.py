"""Data sets of the tasks."""
