"""Neuropod's Python surface over our own: what its users call, with the meaning that it had."""
