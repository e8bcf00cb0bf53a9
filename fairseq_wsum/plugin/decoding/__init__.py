"""Faster decoding with fairseq's programs."""
