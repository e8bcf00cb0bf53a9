"""Modules shared by the models."""
