"""Times of a video in words."""


def clock(seconds: float) -> str:
    """A time to a hundredth of a second: "4.20 s", "1:04.20", "1:01:04.20"."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    if minutes == 0:
        return f"{rest / 100:.2f} s"
    hours, minutes = divmod(minutes, 60)
    end = f"{rest / 100:05.2f}"
    return f"{hours}:{minutes:02}:{end}" if hours else f"{minutes}:{end}"
