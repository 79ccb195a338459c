"""The field: one APM that is trained on many images, queried at any location of any image, and interpolated."""
