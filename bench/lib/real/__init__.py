"""Parts of bench/real.py: its trials, and the contact sheet."""
