"""A Ray cluster: connecting to it, asking its nodes what they are, and computing on them."""
