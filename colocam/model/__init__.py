"""Encoders, decoder, and the localizer that holds both."""

from colocam.model.localizer import Localizer

__all__ = ["Localizer"]
