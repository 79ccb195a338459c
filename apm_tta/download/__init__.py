"""Bring the files of a data set onto this machine: fetched, resumed, checked against what the card states, unpacked."""
