"""The studio: a page on which codes are moved by hand, and what is heard of it at once."""
