"""How fast layers and whole programs are, beside their peers: `fairseq-wsum bench`.

Everything that is compared is taken in turn within one run, so that a change in the machine's speed
hits all of it; what counts is the ratio of the medians.
"""
