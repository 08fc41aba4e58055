"""Figures, tables, words and HTML pages of results, which are drawn as given and never computed here."""
