"""Islands of agreement: what the features of an image's locations have in common, in numbers and in pictures.

The libraries that draw (matplotlib) and embed (scikit-learn) are imported when a picture is made, not before.
"""
