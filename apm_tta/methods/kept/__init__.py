"""What the images so far have left in a method: stored as tensors and plain values, and put back exactly."""

from apm_tta.methods.kept.state import Beginning, KeptState, decode_state

__all__ = ["Beginning", "KeptState", "decode_state"]
