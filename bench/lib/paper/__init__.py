"""Reproduction of the papers: rows of tables, trials, training runs, figures."""
