"""fairseq criteria. fairseq does not import this folder by itself, so the plugin imports it."""
