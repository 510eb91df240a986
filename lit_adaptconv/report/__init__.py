"""A sweep as a page, as pictures, as Markdown and as CSV: a file a figure, `page.py` puts them together."""
