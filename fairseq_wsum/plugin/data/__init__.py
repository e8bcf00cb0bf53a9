"""Data sets for the tasks."""
