"""The field: one APM that is trained on many images, asked for any location of any image, and walked through."""
