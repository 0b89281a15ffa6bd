"""How files get on the disk: whole or not at all, by one run at a time, and each known as its own."""
