// Subtitles from the segments of a verbose_json answer, equal to what the service itself renders (a browser test compares them):
// rendering them here makes both of one request.

export function srt(segments) {
  return cues(segments)
    .map((cue, n) => `${n + 1}\n${times(cue, ",")}\n${cue.text.replaceAll("-->", "->")}\n\n`)
    .join("");
}

export function vtt(segments) {
  return `WEBVTT\n\n${cues(segments)
    .map((cue) => `${times(cue, ".")}\n${escaped(cue.text)}\n\n`)
    .join("")}`;
}

function cues(segments) {
  return segments
    .map(({ start, end, text }) => {
      const startMs = Math.round(start * 1000);
      return { startMs, endMs: Math.max(Math.round(end * 1000), startMs + 1), text: text.split(/\s+/).filter(Boolean).join(" ") };
    })
    .filter(({ text }) => text);
}

function times({ startMs, endMs }, point) {
  return `${clock(startMs, point)} --> ${clock(endMs, point)}`;
}

function clock(ms, point) {
  const [h, m, s] = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map((n) => String(Math.floor(n)).padStart(2, "0"));
  return `${h}:${m}:${s}${point}${String(ms % 1000).padStart(3, "0")}`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
