"""What holds a worker in place, and what locks it before any code of its model runs.

``hold`` is there for every worker from its first moment. ``lock`` applies a sandbox's profile: it is called once, while
the process has exactly one thread, before numpy and before the environment's site directories, and it fails closed.
Each mechanism has a file of its own: ``limits``, ``priority``, ``capabilities``, ``namespaces``, ``landlock``,
``seccomp`` (whose policy is data, in ``policy`` and ``syscalls``), and ``selftest``, which tries what must fail.
"""
