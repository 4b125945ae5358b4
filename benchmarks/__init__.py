"""The numbers of this machine: ``python -m benchmarks`` measures what a call, a start and a crash cost."""
