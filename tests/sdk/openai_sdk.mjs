// Every audio call of the openai SDK against OPENAI_BASE_URL with OPENAI_API_KEY; prints one line of JSON.
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import OpenAI, { APIError, APIUserAbortError, toFile } from "openai";
import { Report } from "./report.mjs";

const [speechPath] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 }); // a retry would hide a fault
const stranger = new OpenAI({ maxRetries: 0, apiKey: "not-a-key" });
const report = new Report((error) =>
  error instanceof APIError
    ? {
        status: error.status,
        message: error.message,
        type: error.type,
        param: error.param,
        code: error.code,
        requestId: error.requestID,
        aborted: error instanceof APIUserAbortError,
      }
    : {},
);

const speech = () => createReadStream(speechPath);
const transcribe = (options, using = client) =>
  using.audio.transcriptions.create({ file: speech(), model: "whisper-1", ...options });
const translate = (options) => client.audio.translations.create({ file: speech(), model: "whisper-1", ...options });
const collect = async (events) => {
  const all = [];
  for await (const event of await events) all.push(event);
  return all;
};

// models
const models = await report.add("models", () => collect(client.models.list()));
for (const { id } of models ?? []) await report.add(`model ${id}`, () => client.models.retrieve(id));
await report.add("model of an alias", () => client.models.retrieve("whisper-1"));
await report.add("unknown model", () => client.models.retrieve("nobody/nothing"));

// formats
await report.add("default", () => transcribe({}));
for (const response_format of ["json", "text", "srt", "vtt", "verbose_json"]) {
  await report.add(response_format, () => transcribe({ response_format }));
  await report.add(`${response_format} headers`, async () => {
    const { response, request_id } = await transcribe({ response_format }).withResponse();
    return { type: response.headers.get("content-type"), requestId: request_id };
  });
}
for (const granularities of [["word"], ["segment"], ["word", "segment"]]) {
  await report.add(`verbose_json ${granularities.join("+")}`, () =>
    transcribe({ response_format: "verbose_json", timestamp_granularities: granularities }),
  );
}

// options
await report.add("logprobs", () => transcribe({ include: ["logprobs"] }));
await report.add("chunking auto", () => transcribe({ chunking_strategy: "auto" }));
await report.add("chunking object", () =>
  transcribe({
    chunking_strategy: { type: "server_vad", threshold: 0.6, silence_duration_ms: 300, prefix_padding_ms: 200 },
  }),
);
await report.add("all options", () => transcribe({ language: "en", prompt: "A history of printing.", temperature: 0 }));

// ways to hand over a file
const bytes = await readFile(speechPath);
await report.add("file from bytes", async () => transcribe({ file: await toFile(bytes, "speech.wav") }));
await report.add("file without a name", async () => transcribe({ file: await toFile(bytes) }));
await report.add("file of the web", () => transcribe({ file: new File([bytes], "speech.wav", { type: "audio/wav" }) }));

// streams
await report.add("stream", () => collect(transcribe({ stream: true })));
await report.add("stream as text", () => collect(transcribe({ stream: true, response_format: "text" })));
await report.add("stream with logprobs", () => collect(transcribe({ stream: true, include: ["logprobs"] })));
await report.add("stream given up", async () => {
  const stream = await transcribe({ stream: true });
  for await (const event of stream) {
    stream.controller.abort();
    return event.type;
  }
});
await report.add("request given up", () =>
  client.audio.transcriptions.create({ file: speech(), model: "whisper-1" }, { signal: AbortSignal.timeout(1) }),
);

// translations, by each model
for (const { id } of models ?? []) {
  for (const response_format of ["json", "text", "srt", "vtt", "verbose_json"]) {
    await report.add(`translation ${id} ${response_format}`, () => translate({ model: id, response_format }));
  }
}

// refusals
await report.add("wrong key", () => transcribe({}, stranger));
await report.add("transcription by an unknown model", () => transcribe({ model: "nobody/nothing" }));
await report.add("no audio", async () => transcribe({ file: await toFile(Buffer.from("This is text."), "speech.wav") }));
await report.add("no file", () => client.audio.transcriptions.create({ model: "whisper-1" }));
await report.add("no model", () => transcribe({ model: undefined }));
await report.add("unknown language", () => transcribe({ language: "klingonese" }));
await report.add("unknown format", () => transcribe({ response_format: "docx" }));
await report.add("diarized", () => transcribe({ response_format: "diarized_json" }));
await report.add("words in json", () => transcribe({ timestamp_granularities: ["word"] }));
await report.add("logprobs in srt", () => transcribe({ response_format: "srt", include: ["logprobs"] }));
await report.add("stream of srt", () => transcribe({ stream: true, response_format: "srt" }));
await report.add("known speakers", () => transcribe({ known_speaker_names: ["Ada"] }));

report.print();
