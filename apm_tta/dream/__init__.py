"""The night of a field: memories of its training images' columns, walks through them, and every state as a picture."""
