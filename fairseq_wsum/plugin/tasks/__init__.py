"""fairseq tasks. fairseq imports every file in this folder if the plugin is its `--user-dir`."""
