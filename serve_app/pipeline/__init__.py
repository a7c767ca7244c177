"""One transcription: media to speech, speech to chunks, chunks to segments in file order."""
