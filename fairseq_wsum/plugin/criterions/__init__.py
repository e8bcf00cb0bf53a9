"""fairseq criteria. `plugin/__init__.py` imports the files that register them."""
