import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { cancelSweep, deleteSweep, isAtWork, pauseSweep, resumeSweep, sweepQuery, type Sweep } from "../../api/sweeps";
import { navigateFrom } from "../../router/router";
import { Button } from "../../ui/Button";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { ErrorNote } from "../../ui/Notes";

type Question = "cancel" | "delete" | null;

/** What can be done with a sweep in its state. */
export function SweepActions({ sweep }: { sweep: Sweep }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState<Question>(null);
  const [error, setError] = useState<unknown>(null);
  const isOpen = sweep.status === "running" || sweep.status === "paused";
  async function change(call: (id: string) => Promise<Sweep>) {
    setError(null);
    client.setQueryData(sweepQuery(sweep.id).queryKey, await call(sweep.id));
  }
  const run = (call: (id: string) => Promise<Sweep>) => void change(call).catch(setError);
  async function remove() {
    const from = window.location.pathname;
    await deleteSweep(sweep.id);
    await client.invalidateQueries({ queryKey: ["sweeps"] });
    navigateFrom(from, "/sweeps");
  }
  return (
    <div className="actions">
      {sweep.status === "running" && <Button icon="pause" onClick={() => { run(pauseSweep); }}>Pause</Button>}
      {sweep.status === "paused" && <Button look="primary" icon="play" onClick={() => { run(resumeSweep); }}>Resume</Button>}
      {isOpen && <Button icon="stop" onClick={() => { setAsked("cancel"); }}>Cancel</Button>}
      {!isAtWork(sweep) && <Button onClick={() => { setAsked("delete"); }}>Delete</Button>}
      {error !== null && <ErrorNote error={error} />}
      {asked === "cancel" && (
        <ConfirmDialog
          title={`Cancel ${sweep.name}?`}
          confirm="Cancel the sweep"
          keep="Keep it"
          action={() => change(cancelSweep)}
          onClose={() => { setAsked(null); }}
        >
          <p>Its trials that have not ended are cancelled. Results and checkpoints are kept.</p>
        </ConfirmDialog>
      )}
      {asked === "delete" && (
        <ConfirmDialog
          title={`Delete ${sweep.name}?`}
          confirm="Delete the sweep"
          keep="Keep it"
          action={remove}
          onClose={() => { setAsked(null); }}
        >
          <p>The jobs of its trials stay.</p>
        </ConfirmDialog>
      )}
    </div>
  );
}
