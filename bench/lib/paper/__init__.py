"""Reproduction of the papers' tables: their rows, training runs and figures."""
