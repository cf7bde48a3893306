"""Raw files of a source to checked, split interactions, items and users."""
