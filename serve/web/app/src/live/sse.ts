/** Reads server-sent events from the body of a reply. */

export interface Message {
  event: string;
  data: string;
}

/** Collects lines into messages. `lastId` is the newest id that was seen, of a message or of a comment. */
export class MessageReader {
  lastId = "";
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
    else if (name === "id") this.lastId = value;
    return [];
  }

  private finish(): Message[] {
    const { event, data } = this;
    this.event = "";
    this.data = [];
    return data.length ? [{ event: event || "message", data: data.join("\n") }] : [];
  }
}
