// Vercel's AI SDK against OPENAI_BASE_URL with OPENAI_API_KEY; prints one line of JSON.
import { readFile } from "node:fs/promises";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, experimental_transcribe, transcribe } from "ai";
import { Report } from "./report.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const [speechPath] = process.argv.slice(2);
const { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey } = process.env;
const openai = createOpenAI({ baseURL, apiKey });
const stranger = createOpenAI({ baseURL, apiKey: "not-a-key" });
const audio = await readFile(speechPath);
const report = new Report((error) =>
  APICallError.isInstance(error)
    ? { status: error.statusCode, message: error.message, ...error.data?.error, retryable: error.isRetryable }
    : {},
);

const call = async (model, options = {}, using = openai, by = transcribe) => {
  const { text, segments, language, durationInSeconds, warnings } = await by({
    model: using.transcription(model),
    audio,
    maxRetries: 0,
    providerOptions: { openai: options },
  });
  return { text, segments, language, durationInSeconds, warnings };
};

await report.add("whisper-1", () => call("whisper-1"));
await report.add("experimental_transcribe", () => call("whisper-1", {}, openai, experimental_transcribe));
await report.add("by id", () => call("tiny.en"));
await report.add("words", () => call("whisper-1", { timestampGranularities: ["word"] }));
await report.add("words and segments", () => call("whisper-1", { timestampGranularities: ["word", "segment"] }));
await report.add("verbose_json by id", () => call("tiny.en", { responseFormat: "verbose_json" }));
await report.add("chunking object", () =>
  call("whisper-1", {
    chunkingStrategy: { type: "server_vad", threshold: 0.6, prefixPaddingMs: 200, silenceDurationMs: 300 },
  }),
);
await report.add("all options", () =>
  call("tiny.en", {
    language: "en",
    languages: ["en"],
    keywords: ["printing"],
    prompt: "A history of printing.",
    temperature: 0,
    include: ["logprobs"],
  }),
);
await report.add("audio as base64", () =>
  transcribe({ model: openai.transcription("whisper-1"), audio: audio.toString("base64") }).then(({ text }) => ({ text })),
);
await report.add("wrong key", () => call("whisper-1", {}, stranger));
await report.add("unknown model", () => call("nobody/nothing"));
await report.add("unknown language", () => call("whisper-1", { language: "klingonese" }));

report.print();
