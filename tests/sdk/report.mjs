// What each call gave: {name: {value}} or {name: {error}}.
export class Report {
  #entries = {};
  #describe;

  constructor(describe) {
    this.#describe = describe;
  }

  async add(name, call) {
    try {
      const value = await call();
      this.#entries[name] = { value };
      return value;
    } catch (error) {
      this.#entries[name] = { error: { name: error.constructor.name, text: String(error), ...this.#describe(error) } };
    }
  }

  print() {
    process.stdout.write(`${JSON.stringify(this.#entries)}\n`);
  }
}
