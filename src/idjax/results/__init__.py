"""What the commands return, and how it is written to disk."""
