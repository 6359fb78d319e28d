import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { nodesQuery, restoreDevice, type GpuOut } from "../../api/nodes";
import { sessionQuery } from "../../api/session";
import { ago } from "../../format/format";
import { Button } from "../../ui/Button";
import { ErrorNote } from "../../ui/Notes";

/** GPUs that no job gets, each with its reason. */
export function TakenOut({ gpus }: { gpus: GpuOut[] }) {
  if (gpus.length === 0) return null;
  return (
    <ul className="taken-out" aria-label="GPUs that are taken out">
      {gpus.map((gpu) => <One key={`${gpu.node} ${String(gpu.gpu)}`} gpu={gpu} />)}
    </ul>
  );
}

function One({ gpu }: { gpu: GpuOut }) {
  const client = useQueryClient();
  const { data: session } = useQuery(sessionQuery);
  const restoring = useMutation({
    mutationFn: () => restoreDevice(gpu),
    onSettled: () => client.invalidateQueries({ queryKey: nodesQuery.queryKey }),
  });
  return (
    <li>
      <p>
        <b className="device-lost">GPU {gpu.gpu} of {gpu.node} is taken out.</b> {gpu.reason}{" "}
        <span className="muted">{ago(gpu.since)}</span>
      </p>
      {session?.scopes.includes("admin") && (
        <Button disabled={restoring.isPending} onClick={() => { restoring.mutate(); }}>Give it to jobs again</Button>
      )}
      {restoring.error && <ErrorNote error={restoring.error} />}
    </li>
  );
}
