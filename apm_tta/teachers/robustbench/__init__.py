"""RobustBench's CIFAR networks for corruptions, by architectures of our own that take its published checkpoints.

Its package cannot be a dependency, since it pins an old timm. Names of modules are those of its checkpoints, so that
these load strictly; ``scripts/record_robustbench.py`` records what its own code answers with drawn weights.
"""
