"""What a method shares with others, and how a change of it is noticed."""
