import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { datasetKeys, isUnreadable, uploadListQuery, type Dataset } from "../api/datasets";
import { columnsOf } from "./columns";
import { completeUpload, sendFile, uploadService, type UploadOptions } from "./upload";

export type UploadState =
  | { phase: "idle" }
  | { phase: "sending"; file: File; sent: number }
  | { phase: "reading"; file: File }
  /** The bytes are there, and no dataset could be made of them: other options may help. */
  | { phase: "unreadable"; file: File; id: string; error: unknown; columns: string[] }
  | { phase: "failed"; file: File; error: unknown };

/** An upload as another part of the page shows it: the name of the file, and whether it needs the user. */
export interface UploadPhase {
  name: string;
  isStuck: boolean;
}

export interface UploadControl {
  state: UploadState;
  send: (file: File) => void;
  readAgain: (options: UploadOptions) => void;
  cancel: () => void;
}

/** One upload at a time, from the file to the dataset. `onDone` is not called once the component is gone. */
export function useUpload(onDone: (dataset: Dataset) => void): UploadControl {
  const client = useQueryClient();
  // An upload takes long: the component may have rendered again, with another state that `onDone` reads.
  const latest = useRef(onDone);
  useEffect(() => { latest.current = onDone; });
  const [state, setState] = useState<UploadState>({ phase: "idle" });
  const abort = useRef<AbortController | null>(null);
  useEffect(() => () => { abort.current?.abort(); }, []);

  async function read(file: File, id: string, options: UploadOptions, signal: AbortSignal) {
    setState({ phase: "reading", file });
    try {
      const dataset = await completeUpload(id, options);
      setState({ phase: "idle" });
      await client.invalidateQueries({ queryKey: datasetKeys.lists });
      if (!signal.aborted) latest.current(dataset);
    } catch (error) {
      if (isUnreadable(error)) setState({ phase: "unreadable", file, id, error, columns: await columnsOf(file) });
      else setState({ phase: "failed", file, error });
    }
    void client.invalidateQueries(uploadListQuery);
  }

  async function send(file: File) {
    abort.current?.abort();
    const own = new AbortController();
    abort.current = own;
    setState({ phase: "sending", file, sent: 0 });
    try {
      const id = await sendFile(file, uploadService, (sent) => { setState({ phase: "sending", file, sent }); }, own.signal);
      await read(file, id, {}, own.signal);
    } catch (error) {
      if (!own.signal.aborted) setState({ phase: "failed", file, error });
    }
  }

  return {
    state,
    send: (file) => void send(file),
    readAgain: (options) => {
      if (state.phase === "unreadable" && abort.current) void read(state.file, state.id, options, abort.current.signal);
    },
    cancel: () => {
      abort.current?.abort();
      setState({ phase: "idle" });
      void client.invalidateQueries(uploadListQuery);
    },
  };
}
