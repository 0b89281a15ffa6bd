"""What a run would do (``--dry-run``): as a JSON object and as a page in the terminal."""
