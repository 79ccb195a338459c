"""What a GPU does with the package, measured by one command: ``python -m benchmarks.gpu``."""
