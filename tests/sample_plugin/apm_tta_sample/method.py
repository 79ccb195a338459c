"""A method of the sample package."""

from apm_tta import Batch, Method, Predictions


class Doubled(Method):
    """Zero-shot with doubled logits."""

    name = "sample-doubled"
    protocol = "episodic"

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(2 * self.logits(self.features(batch)))
