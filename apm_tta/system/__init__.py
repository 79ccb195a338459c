"""What the system, the shell and the scheduler give a process and take from it, whatever it does with it."""
