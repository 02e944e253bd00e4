"""Encoders, decoder, and the localizer that holds both."""

from colocam.models.localizer import Localizer

__all__ = ["Localizer"]
