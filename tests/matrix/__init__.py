"""The crash matrix: ways to end × phases of a worker's life × callers, each row's outcome computed from small rules."""
