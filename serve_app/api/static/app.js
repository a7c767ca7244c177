import { Recording, whyNot } from "./recorder.js";
import { defaultModel, listModels, streamTranscript, timedTranscript } from "./service.js";
import { srt, vtt } from "./subtitles.js";

// What Whisper knows; a model that says which languages it has narrows the list.
const LANGUAGES =
  "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh".split(" "); // codespell:ignore fo,te
const KEY = "rayscribe.key";
const $ = (id) => document.getElementById(id);

let models = new Map();
let file = null; // what is chosen
let result = null; // what was made: {request, text, segments}
let running = null; // AbortController of the request in progress
let recording = null;

// --- what to transcribe

function choose(chosen) {
  file = chosen;
  if ($("preview").src) URL.revokeObjectURL($("preview").src);
  $("preview").hidden = false;
  $("preview").src = URL.createObjectURL(file);
  $("chosen-name").textContent = file.name;
  $("chosen-size").textContent = size(file.size);
  $("chosen").hidden = false;
  $("start").disabled = false;
  clearProblem();
}

function size(bytes) {
  const [unit, by] = [["MB", 1e6], ["kB", 1e3], ["bytes", 1]].find(([, by]) => bytes >= by) ?? ["bytes", 1];
  return `${(bytes / by).toLocaleString(undefined, { maximumFractionDigits: 1 })} ${unit}`;
}

async function toggleRecording() {
  clearProblem();
  if (recording) {
    const ended = recording;
    recording = null;
    showRecording();
    choose(await ended.stop());
    $("start").focus();
    return;
  }
  try {
    recording = await Recording.start();
    showRecording();
  } catch (error) {
    showProblem(error);
  }
}

function showRecording() {
  $("record").classList.toggle("on", recording !== null);
  $("record-label").textContent = recording ? `Stop ${minutes(recording.seconds)}` : "Record";
  $("start").disabled = recording !== null || file === null;
  if (recording) setTimeout(showRecording, 250);
}

function minutes(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

// --- models and languages

async function loadModels() {
  const [list, preferred] = await Promise.all([listModels(key()), defaultModel().catch(() => null)]);
  models = new Map(list.map((model) => [model.id, model]));
  if (!models.size) return;
  const before = models.has($("model").value) ? $("model").value : preferred;
  $("model").replaceChildren(...list.map(({ id }) => new Option(id, id, false, id === before)));
  modelChanged();
}

function modelChanged() {
  const model = models.get($("model").value) ?? {};
  const translate = $("task").querySelector("[value=translate]");
  translate.disabled = model.tasks ? !model.tasks.includes("translate") : false;
  if (translate.disabled) $("task").value = "transcribe";
  const names = new Intl.DisplayNames(navigator.languages, { type: "language" });
  const codes = model.languages?.length ? model.languages : LANGUAGES;
  const options = codes.map((code) => [names.of(code === "jw" ? "jv" : code), code]).sort(([a], [b]) => a.localeCompare(b));
  const before = $("language").value;
  $("language").replaceChildren(...[["Detect", ""], ...options].map(([name, code]) => new Option(name, code, false, code === before)));
  taskChanged();
}

function taskChanged() {
  $("language").disabled = $("task").value === "translate"; // the service detects what it translates from
}

// --- transcribing

async function transcribe() {
  const request = { file, model: $("model").value, language: $("language").value, task: $("task").value };
  const startedAt = performance.now();
  result = { request, text: "", segments: null };
  $("transcript").textContent = "";
  $("downloads").hidden = $("subtitle-note").hidden = true;
  $("result").hidden = false;
  await run("Sending the audio…", request.task === "translate" ? translated : streamed);
  $("downloads").hidden = result.text === "";
  $("result").hidden = result.text === "" && result.seconds === undefined;
  $("subtitle-note").hidden = result.text === "" || result.segments !== null;
  if (result.seconds === undefined) return; // stopped early; what came is still there to keep
  const took = ((performance.now() - startedAt) / 1000).toLocaleString(undefined, { maximumFractionDigits: 1 });
  $("status").textContent = result.text.trim() ? `Done: ${minutes(result.seconds)} of audio in ${took} s.` : "Done. Nothing was said.";
}

async function streamed(signal) {
  for await (const event of streamTranscript(result.request, { key: key(), signal })) {
    if (event.type === "open") $("status").textContent = "Transcribing…";
    if (event.type === "transcript.text.delta") append(event.delta);
    if (event.type === "transcript.text.done") {
      result.text = event.text;
      result.seconds = event.usage?.seconds ?? 0;
    }
  }
}

async function translated(signal) {
  $("status").textContent = "Translating…";
  const { text, duration, segments } = await timedTranscript(result.request, { key: key(), signal });
  append(text);
  Object.assign(result, { segments, seconds: duration });
}

function append(text) {
  result.text += text;
  // An element of its own for each piece, so that a screen reader says what is new and not all again.
  const piece = document.createElement("span");
  piece.textContent = $("transcript").hasChildNodes() ? text : text.trimStart();
  $("transcript").append(piece);
}

async function run(status, work) {
  clearProblem();
  const focused = document.activeElement;
  running = new AbortController();
  $("status").textContent = status;
  setBusy(true);
  $("cancel").focus();
  try {
    await work(running.signal);
    $("status").textContent = "";
  } catch (error) {
    $("status").textContent = error.name === "AbortError" ? "Cancelled." : "";
    if (error.name !== "AbortError") showProblem(error);
  } finally {
    running = null;
    setBusy(false);
    if ([$("cancel"), document.body].includes(document.activeElement)) focused.focus();
  }
}

function setBusy(busy) {
  $("inputs").disabled = $("start").hidden = busy;
  $("downloads").querySelectorAll("button").forEach((button) => (button.disabled = busy));
  $("cancel").hidden = $("bar").hidden = !busy;
  $("transcript").classList.toggle("live", busy);
  $("transcript").setAttribute("aria-busy", String(busy));
}

// --- what to keep

async function download(format) {
  if (format !== "txt" && !result.segments) await run("Asking for the times…", loadSegments);
  if (format === "txt") return save(`${result.text.trim()}\n`, "txt", "text/plain");
  if (!result.segments) return;
  $("subtitle-note").hidden = true;
  if (format === "srt") save(srt(result.segments), "srt", "application/x-subrip");
  else save(vtt(result.segments), "vtt", "text/vtt");
}

async function loadSegments(signal) {
  result.segments = (await timedTranscript(result.request, { key: key(), signal })).segments;
}

function save(text, ending, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  link.download = `${result.request.file.name.replace(/\.[^.]*$/, "") || "transcript"}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(result.text.trim());
    $("status").textContent = "Copied.";
  } catch {
    $("status").textContent = "The browser did not allow copying: select the text instead.";
  }
}

// --- key and problems

function key() {
  return sessionStorage.getItem(KEY) ?? "";
}

function showProblem(error) {
  const asked = error.status === 401 && key() === ""; // nothing went wrong yet
  $("problem-text").textContent = asked ? "This service asks for an API key: enter yours above." : error.message;
  const retry = error.retryAfterS ? `Worth trying again in ${error.retryAfterS} s.` : "";
  const id = error.requestId && !asked ? `Request ${error.requestId}` : "";
  $("problem-detail").textContent = [retry, id].filter(Boolean).join(" ");
  $("problem").hidden = false;
  if (error.status === 401) {
    $("access").open = true;
    setTimeout(() => $("key").focus());
  }
}

function clearProblem() {
  $("problem").hidden = true;
}

// --- the page

$("file").addEventListener("change", () => $("file").files.length && choose($("file").files[0]));
$("record").addEventListener("click", toggleRecording);
$("preview").addEventListener("error", () => ($("preview").hidden = true)); // the service reads more formats than browsers
$("model").addEventListener("change", modelChanged);
$("task").addEventListener("change", taskChanged);
$("key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, $("key").value.trim());
  clearProblem();
  loadModels().catch(showProblem);
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (file && !running && !recording) transcribe();
});
$("cancel").addEventListener("click", () => running?.abort());
$("copy").addEventListener("click", copy);
$("downloads").addEventListener("click", ({ target }) => target.dataset.format && download(target.dataset.format));

for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    const [dropped] = event.dataTransfer?.files ?? [];
    if (name === "drop" && dropped && !running && !recording) choose(dropped);
  });
}

$("record").disabled = whyNot() !== null;
$("record-note").textContent = whyNot() ?? "";
$("record-note").hidden = whyNot() === null;
$("key").value = key();
$("access").open = key() !== "";
modelChanged();
loadModels().catch(showProblem);
