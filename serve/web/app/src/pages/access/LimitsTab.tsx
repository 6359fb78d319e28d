import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { accessKeys, changeQuota, quotaQuery, type Quota, type QuotaChange } from "../../api/access";
import { isAdmin, type Session } from "../../api/session";
import { bytes, count, number } from "../../format/format";
import { Button } from "../../ui/Button";
import { ErrorNote, Loading } from "../../ui/Notes";
import { TableHead } from "../../ui/TableHead";
import { UserChoice, useChosenUser } from "./UserChoice";

interface Limit {
  name: keyof QuotaChange & keyof Quota;
  label: string;
  used?: (quota: Quota) => number | undefined;
  show: (value: number | null | undefined) => string;
  /** What one unit of the field is, in that of the service. */
  unit?: { name: string; size: number };
}

const GB = { name: "GB", size: 1e9 };
const LIMITS: Limit[] = [
  { name: "max_queued_jobs", label: "Queued jobs", used: (quota) => quota.queued_jobs, show: count },
  { name: "max_running_gpus", label: "Running GPUs", used: (quota) => quota.running_gpus, show: number },
  { name: "max_running_cpus", label: "Running CPU cores", used: (quota) => quota.running_cpus, show: count },
  { name: "max_disk_bytes", label: "Disk: datasets and checkpoints", used: (quota) => quota.disk_bytes, show: bytes, unit: GB },
  { name: "max_upload_bytes", label: "Datasets", used: (quota) => quota.upload_bytes, show: bytes, unit: GB },
  { name: "weight", label: "Share of the devices, as a weight", show: number },
];

/** What a user uses, and how much they may; admins change it. */
export function LimitsTab({ session }: { session: Session }) {
  const mayManage = isAdmin(session);
  const owner = useChosenUser(session);
  const { data: quota, error, refetch } = useQuery(quotaQuery(owner));
  return (
    <div className="parts">
      {mayManage && session.requires_keys && <div className="toolbar access-head"><UserChoice label="Limits of" user={owner} /></div>}
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {!quota && !error && <Loading lines={6} />}
      {quota && (
        <table className="table stack records">
          <TableHead columns={["What", "Used", "Limit", ...(mayManage ? [{ hidden: "New limit" }] : [])]} />
          <tbody>
            {LIMITS.map((limit) => <Row key={limit.name} limit={limit} quota={quota} mayManage={mayManage} />)}
          </tbody>
        </table>
      )}
    </div>
  );
}

function Row({ limit, quota, mayManage }: { limit: Limit; quota: Quota; mayManage: boolean }) {
  const most = quota[limit.name];
  return (
    <tr>
      <th scope="row">{limit.label}</th>
      <td data-label="Used" className="numeric">{limit.used ? limit.show(limit.used(quota)) : "–"}</td>
      <td data-label="Limit" className="numeric">{typeof most === "number" ? limit.show(most) : "no limit"}</td>
      {mayManage && <td data-label="New limit"><Change key={quota.owner} limit={limit} owner={quota.owner} /></td>}
    </tr>
  );
}

function Change({ limit, owner }: { limit: Limit; owner: string }) {
  const queries = useQueryClient();
  const [text, setText] = useState("");
  const changing = useMutation({
    mutationFn: (typed: string | null) => changeQuota(owner, { [limit.name]: typed === null ? null : amountOf(limit, typed) }),
    onSuccess: async (_changed, sent) => {
      // What is typed while the request is under way stays.
      setText((now) => (sent === null || now === sent ? "" : now));
      await queries.invalidateQueries({ queryKey: accessKeys.all });
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    changing.mutate(text);
  }
  const unit = limit.unit ? ` in ${limit.unit.name}` : "";
  return (
    <form className="limit-form" onSubmit={submit}>
      <input
        type="number"
        min="0"
        step="any"
        value={text}
        placeholder={limit.unit?.name ?? ""}
        aria-label={`New limit: ${limit.label}${unit}`}
        onChange={(event) => { setText(event.target.value); }}
      />
      <Button type="submit" disabled={text === "" || changing.isPending}>Set</Button>
      <Button look="ghost" disabled={changing.isPending} aria-label={`Reset to the service's setting: ${limit.label}`} onClick={() => { changing.mutate(null); }}>
        Reset
      </Button>
      {changing.error && <ErrorNote error={changing.error} />}
    </form>
  );
}

function amountOf({ unit }: Limit, text: string): number {
  return unit ? Math.round(Number(text) * unit.size) : Number(text);
}
