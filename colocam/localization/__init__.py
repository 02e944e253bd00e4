"""Localization: a trained localizer applied to frames and whole videos."""
