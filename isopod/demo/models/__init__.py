"""The models of the demo: plain files that run in workers, each on its model's own Python. Nothing here is imported."""
