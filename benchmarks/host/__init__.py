"""What the host costs per image: every method through the real loaders and worker, over a teacher that is free."""
