"""fairseq criteria. fairseq imports no file of this folder by itself: the package does."""
