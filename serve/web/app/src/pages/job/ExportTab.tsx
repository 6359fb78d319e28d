import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import type { Job, Schemas } from "../../api/client";
import { jobKeys } from "../../api/jobs";
import { artifactAddress, deleteArtifact, exportOptionsQuery, exportsQuery, startExport } from "../../api/jobParts";
import { bytes, number } from "../../format/format";
import { isTraining } from "../../jobs/facts";
import { Link } from "../../router/Link";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { Icon } from "../../ui/Icon";
import { Menu } from "../../ui/Menu";
import { ErrorNote, Loading } from "../../ui/Notes";
import { StatusPill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";
import type { TabProps } from "./JobPage";
import { PushDialog } from "./PushDialog";

type Export = Schemas["Export"];
type Artifact = Schemas["Artifact"];

interface Choice {
  label: string;
  /** The part of a config that it stands for. */
  config: Partial<Schemas["ExportConfig"]>;
}

const CHOICES: Choice[] = [
  { label: "Merged model for vLLM and transformers", config: { formats: ["merged"] } },
  { label: "Adapter for PEFT and vLLM", config: { formats: ["adapter"] } },
  { label: "GGUF, 8 bits, for Ollama and llama.cpp", config: { formats: ["gguf"], gguf_type: "q8_0" } },
  { label: "GGUF, 16 bits, for Ollama and llama.cpp", config: { formats: ["gguf"], gguf_type: "f16" } },
];

/** K-quants, the largest first; only services that can make them offer them. */
const K_QUANTS: Choice[] = (["q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m"] as const).map((type) => ({
  label: `GGUF, about ${type.charAt(1)} bits (${type}), for Ollama and llama.cpp`,
  config: { formats: ["gguf"], gguf_type: type },
}));

export default function ExportTab({ job }: TabProps) {
  const { data, error, refetch } = useQuery(exportsQuery(job.id));
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!data) return <Loading lines={3} />;
  return (
    <>
      {isTraining(job) && <ExportForm job={job} />}
      {data.length > 0 && <Exports exports={data} />}
    </>
  );
}

function ExportForm({ job }: { job: Job }) {
  const client = useQueryClient();
  const [chosen, setChosen] = useState(0);
  const { data: options } = useQuery(exportOptionsQuery);
  const choices = [...CHOICES, ...K_QUANTS.filter(({ config }) => config.gguf_type && options?.gguf_types.includes(config.gguf_type))];
  const start = useMutation({
    mutationFn: () => startExport({ kind: "export", model: `job:${job.id}`, ...choices[chosen]?.config }),
    onSuccess: () => client.invalidateQueries({ queryKey: jobKeys.part(job.id, "exports") }),
  });
  if (!job.model_id) return <p className="muted small">The model can be exported once the job has delivered it.</p>;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    start.mutate();
  };
  return (
    <form className="export-form" onSubmit={submit}>
      <label htmlFor="export-format">Format</label>
      <select id="export-format" value={chosen} onChange={(event) => { setChosen(Number(event.target.value)); }}>
        {choices.map(({ label }, place) => (
          <option key={label} value={place}>{label}</option>
        ))}
      </select>
      <button type="submit" className="button button-primary" disabled={start.isPending}>Export</button>
      <p className="muted small">The files are delivered after their answers were compared with those of the tuned model.</p>
      {start.error && <ErrorNote error={start.error} />}
    </form>
  );
}

function Exports({ exports }: { exports: Export[] }) {
  return (
    <table className="table stack">
      <TableHead columns={["Export", "Status", "Artifact", "Size", "Largest difference", "Bound", { hidden: "Actions" }]} />
      <tbody>
        {exports.flatMap((each) =>
          each.artifacts?.length
            ? each.artifacts.map((artifact) => <ArtifactRow key={`${each.job_id} ${artifact.name}`} of={each} artifact={artifact} />)
            : [<ExportRow key={each.job_id} of={each} />],
        )}
      </tbody>
    </table>
  );
}

function ArtifactRow({ of, artifact }: { of: Export; artifact: Artifact }) {
  const { receipt } = artifact;
  const client = useQueryClient();
  const [asked, setAsked] = useState<"push" | "delete" | null>(null);
  const close = () => { setAsked(null); };
  return (
    <tr>
      <th scope="row"><Link to={`/jobs/${of.job_id}`}>{of.name}</Link></th>
      <td data-label="Status"><StatusPill job={of} /></td>
      <td data-label="Artifact">{artifact.name}</td>
      <td data-label="Size" className="numeric">{bytes(artifact.size_bytes)}</td>
      <td data-label="Largest difference" className="numeric">{number(receipt.max_difference)}</td>
      <td data-label="Bound" className="numeric">{number(receipt.bound)}</td>
      <td className="actions">
        <a className="button" href={artifactAddress(of.job_id, artifact.name)} download>
          <Icon name="download" /> Download
        </a>
        <Menu
          label={`Actions for ${artifact.name}`}
          items={[
            { label: "Upload to the hub…", run: () => { setAsked("push"); } },
            { label: "Delete the artifact…", danger: true, run: () => { setAsked("delete"); } },
          ]}
        />
        {asked === "push" && <PushDialog exportId={of.job_id} artifact={artifact.name} onClose={close} />}
        {asked === "delete" && (
          <ConfirmDialog
            title={`Delete ${artifact.name}?`}
            confirm="Delete the artifact"
            keep="Keep it"
            onClose={close}
            action={async () => {
              await deleteArtifact(of.job_id, artifact.name);
              // The list belongs to the page of this export, or of the job whose models are exported.
              await client.invalidateQueries({ predicate: ({ queryKey }) => queryKey.includes("exports") });
            }}
          >
            <p>Its {bytes(artifact.size_bytes)} are removed from the disk. The export can be made again.</p>
          </ConfirmDialog>
        )}
      </td>
    </tr>
  );
}

/** An export without an artifact: it is waiting or running, or it failed. */
function ExportRow({ of }: { of: Export }) {
  return (
    <tr>
      <th scope="row"><Link to={`/jobs/${of.job_id}`}>{of.name}</Link></th>
      <td data-label="Status"><StatusPill job={of} /></td>
      <td colSpan={5}>{of.message}</td>
    </tr>
  );
}
