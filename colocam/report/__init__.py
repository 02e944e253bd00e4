"""Report: tables, charts, pictures and the HTML page of an evaluation, and of a localized video.

- `report`: runs an evaluation and writes its numbers, tables, page, contact sheet and videos
- `tables`: the numbers as tables for the terminal, Markdown and the page
- `page`: fills the page's template from the numbers, charts and pictures
- `charts`: geometry of line and bar charts
- `training_charts`: charts of a run's log
- `examples`: selects the frames that are shown and runs the model on them
- `pictures`: draws an example frame, its maps and its boxes
- `contact_sheet`: one PNG of many examples
- `overlay_videos`: videos around the example frames
- `video`: the page of a localized video
- `templating`: Jinja2 environment; `templates/` holds the page, its parts, charts and style
"""

from colocam.report.contact_sheet import contact_sheet
from colocam.report.pictures import Example

__all__ = ["Example", "contact_sheet"]
