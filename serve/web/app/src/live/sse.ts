/** Reads server-sent events from the body of a reply. */

export interface Message {
  event: string;
  data: string;
}

/** Collects lines into messages. `lastId` is the id of the last message, or comment, that is complete. */
export class MessageReader {
  lastId = "";
  private id = "";
  private rest = "";
  private event = "";
  private data: string[] = [];

  /** The messages that `text` completes. */
  read(text: string): Message[] {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.line(line.endsWith("\r") ? line.slice(0, -1) : line));
  }

  private line(line: string): Message[] {
    if (line === "") return this.finish();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id") this.id = value;
    return [];
  }

  private finish(): Message[] {
    const { event, data } = this;
    this.lastId = this.id;
    this.event = "";
    this.data = [];
    return data.length ? [{ event: event || "message", data: data.join("\n") }] : [];
  }
}
