// The service's HTTP API, as much of it as the page needs. Paths are relative, so that the page works below a prefix.

export class ServiceError extends Error {
  constructor(message, { status = 0, code = null, requestId = null, retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfterS });
  }
}

export async function listModels(key) {
  const response = await send("v1/models", { key });
  return (await response.json()).data;
}

export async function defaultModel() {
  const response = await send("health", {});
  return (await response.json()).model ?? null;
}

// Yields {type: "open"} when the service has taken the file, then its own delta and done events.
export async function* streamTranscript(request, { key, signal }) {
  const response = await send("v1/audio/transcriptions", { key, signal, body: form(request, { stream: "true" }) });
  yield { type: "open" };
  let done = false;
  for await (const event of serverSentEvents(response.body)) {
    if (event.error) throw fromEnvelope(event.error, response);
    done ||= event.type === "transcript.text.done";
    yield event;
  }
  if (!done) throw new ServiceError("The connection ended before the transcript did.");
}

export async function timedTranscript(request, { key, signal }) {
  const path = request.task === "translate" ? "v1/audio/translations" : "v1/audio/transcriptions";
  const response = await send(path, { key, signal, body: form(request, { response_format: "verbose_json" }) });
  return response.json();
}

function form({ file, model, language, task }, extra) {
  const body = new FormData();
  body.append("model", model);
  if (language && task === "transcribe") body.append("language", language);
  for (const [name, value] of Object.entries(extra)) body.append(name, value);
  body.append("file", file, file.name);
  return body;
}

async function send(path, { key, signal, body }) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service can't be reached, or it closed the connection. Is it running?");
  }
  if (response.ok) return response;
  const envelope = await response.json().catch(() => null);
  throw fromEnvelope(envelope?.error, response);
}

function fromEnvelope(error, response) {
  return new ServiceError(error?.message ?? `The service answered ${response.status} ${response.statusText}`.trim(), {
    status: response.status,
    code: error?.code ?? null,
    requestId: response.headers.get("x-request-id"),
    retryAfterS: Number(response.headers.get("retry-after")) || null,
  });
}

// The data of each event, as JSON; comments and other fields are passed over.
export async function* serverSentEvents(stream) {
  let data = [];
  for await (const line of lines(stream)) {
    if (line === "" && data.length) {
      yield JSON.parse(data.join("\n"));
      data = [];
    } else if (line.startsWith("data:")) {
      data.push(line.slice(5).replace(/^ /, ""));
    }
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      // A CR at the very end may be half of a CRLF: it waits for the next block.
      const parts = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = parts.pop();
      yield* parts;
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The connection broke before the transcript ended.");
  } finally {
    reader.cancel().catch(() => {});
  }
}
