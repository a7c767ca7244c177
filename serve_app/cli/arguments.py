"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.wishes import Channels, OutputFormat, Priority, Task

Url = Annotated[str, typer.Option("--url", envvar="RAYSCRIBE_URL", help="The service.")]
ApiKey = Annotated[str, typer.Option("--api-key", envvar="RAYSCRIBE_API_KEY", help="A key of the service.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
JobId = Annotated[str, typer.Argument(help="As `rayscribe submit` printed it.", show_default=False)]

DEFAULT_URL = "http://127.0.0.1:8000"

Model = Annotated[str, typer.Option(help="A model id or alias of the service.")]
Language = Annotated[
    str, typer.Option(help="The language spoken: code, English name or tag. Detected if absent.", show_default=False)
]
TaskOption = Annotated[Task, typer.Option("--task", help="`translate` answers in English.")]
Prompt = Annotated[str, typer.Option(help="Text that guides the style.", show_default=False)]
Hotwords = Annotated[str, typer.Option(help="Words that are likely to be said.", show_default=False)]
Temperature = Annotated[float | None, typer.Option(min=0, max=1, help="Above 0 samples.", show_default=False)]
BeamSize = Annotated[int | None, typer.Option(min=1, max=16, help="Beams of the first decoding.", show_default=False)]
Vad = Annotated[
    bool | None, typer.Option("--vad/--no-vad", help="Leave out what does not sound like speech.", show_default=False)
]
ChannelsOption = Annotated[
    Channels | None, typer.Option("--channels", help="`separate`: each channel by itself.", show_default=False)
]
Multilingual = Annotated[bool, typer.Option("--multilingual", help="Detect the language of each chunk.")]
Continuous = Annotated[
    bool, typer.Option("--condition-on-previous-text", help="Prompt each chunk with the text before it: slower.")
]
WordTimes = Annotated[bool, typer.Option("--word-times", help="Times of words, in `json`.")]
LineWidth = Annotated[
    int | None, typer.Option("--max-line-width", min=1, help="Characters in a line of a subtitle.", show_default=False)
]
LineCount = Annotated[
    int | None, typer.Option("--max-line-count", min=1, help="Lines in a subtitle.", show_default=False)
]

Formats = Annotated[
    list[OutputFormat], typer.Option("--format", "-f", help="What to write; may be given several times.")
]
Files = Annotated[
    list[Path], typer.Argument(help="Files, and directories to search for audio and video.", show_default=False)
]
PriorityOption = Annotated[
    Priority | None, typer.Option("--priority", help="`batch` comes after all that is interactive.", show_default=False)
]
