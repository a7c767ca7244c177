"""One transcription: media to speech, speech to chunks, chunks to segments in file order."""

from serve_app.settings import export

# What finds speech, ONNX Runtime, reports to its maker how it is used, from its import on, unless this was set before.
export({"ORT_DISABLE_TELEMETRY": "1"})
