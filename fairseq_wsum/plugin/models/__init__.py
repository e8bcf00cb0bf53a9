"""fairseq models. fairseq imports every file of this folder when it is given as `--user-dir`."""
