"""The child: everything that runs inside a worker process, and nothing that runs outside of one.

Runs on Python 3.7 and later. Nothing of it is installed in a model's environment: the bootstrap loads it from where it
lies.
"""
