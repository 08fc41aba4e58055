"""Results that the commands return, their JSON, and the writer of files."""
