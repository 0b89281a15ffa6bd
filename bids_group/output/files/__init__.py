"""What is written: the files of the dataset, of pooled maps and of group analyses, with their sidecars."""
