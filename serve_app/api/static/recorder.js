// A recording from the microphone, as a file.

const MESSAGES = {
  NotAllowedError: "The browser did not allow the use of the microphone.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "Another program is using the microphone.",
};

// Why the browser can't record, or null. Without HTTPS, browsers offer the microphone on this computer's own address only.
export function whyNot() {
  if (!window.isSecureContext) return "Recording needs HTTPS, or this page opened on localhost.";
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser can't record.";
  return null;
}

export class Recording {
  static async start() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      return new Recording(stream);
    } catch (error) {
      throw new Error(MESSAGES[error.name] ?? `The microphone can't be used: ${error.message}`);
    }
  }

  constructor(stream) {
    this.startedAt = performance.now();
    this.stream = stream;
    this.parts = [];
    this.recorder = new MediaRecorder(stream);
    this.recorder.ondataavailable = (event) => this.parts.push(event.data);
    this.recorder.start();
  }

  get seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  async stop() {
    const stopped = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.recorder.stop();
    await stopped;
    this.stream.getTracks().forEach((track) => track.stop());
    const type = this.recorder.mimeType || "audio/webm";
    const ending = type.split(/[/;]/)[1] ?? "webm";
    return new File(this.parts, `recording.${ending}`, { type });
  }
}
