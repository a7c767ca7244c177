// Subtitles from the segments of a verbose_json answer, equal to what the service itself renders: a browser test compares them.

export function srt(segments) {
  return segments.map((s, n) => `${n + 1}\n${times(s, ",")}\n${s.text.trim()}\n`).join("\n");
}

export function vtt(segments) {
  return ["WEBVTT\n", ...segments.map((s) => `${times(s, ".")}\n${escaped(s.text.trim())}\n`)].join("\n");
}

function times({ start, end }, point) {
  return `${clock(start, point)} --> ${clock(end, point)}`;
}

function clock(seconds, point) {
  const ms = Math.round(seconds * 1000);
  const [h, m, s] = [ms / 3_600_000, (ms / 60_000) % 60, (ms / 1000) % 60].map((n) => String(Math.floor(n)).padStart(2, "0"));
  return `${h}:${m}:${s}${point}${String(ms % 1000).padStart(3, "0")}`;
}

function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
