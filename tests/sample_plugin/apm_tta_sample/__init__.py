"""A package that adds one of everything to apm-tta: a method, a teacher, a layout and a data set."""

from pathlib import Path

CARD = Path(__file__).with_name("sample-set.yaml")
