"""What both sides of a worker share: memory, rings, tensors, the control protocol, and the error tree.

Runs on Python 3.7 and later, with nothing but the standard library until numpy is there: the child imports it
before its model's environment is active.
"""
