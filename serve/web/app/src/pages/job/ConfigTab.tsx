import { useState } from "react";
import type { Job } from "../../api/client";
import { saveFile } from "../../charts/save";
import { dateTime } from "../../format/format";
import { flat, shown } from "../../config/configTree";
import { configOf } from "../../jobs/facts";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { TableHead } from "../../ui/TableHead";
import type { TabProps } from "./JobPage";

export default function ConfigTab({ job }: TabProps) {
  const [search, setSearch] = useState("");
  const settings = Object.entries(flat(configOf(job))).filter(([field]) => field.includes(search.trim().toLowerCase()));
  return (
    <>
      <Adjustments job={job} />
      <div className="log-bar">
        <label className="search">
          <Icon name="search" />
          <span className="visually-hidden">Search settings</span>
          <input type="search" placeholder="Search settings" value={search} onChange={(event) => { setSearch(event.target.value); }} />
        </label>
        <Button icon="download" onClick={() => { saveConfig(job); }}>Save as JSON</Button>
      </div>
      <table className="table settings">
        <TableHead columns={["Setting", "Value"]} />
        <tbody>
          {settings.map(([field, value]) => (
            <tr key={field}>
              <th scope="row"><code>{field}</code></th>
              <td>
                <code>{shown(value)}</code>
                <Chosen job={job} field={field} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

/** What a setting that was left to the service became, and why. */
function Chosen({ job, field }: { job: Job; field: string }) {
  const auto = job.auto?.[field];
  if (!auto) return null;
  return (
    <span className="chosen small">
      <span className="pill">auto</span> {auto.reason}
    </span>
  );
}

function Adjustments({ job }: TabProps) {
  const adjustments = job.adjustments ?? [];
  if (adjustments.length === 0) return null;
  return (
    <section className="panel adjustments" aria-labelledby="adjustments">
      <h3 id="adjustments">Changes since the submission</h3>
      <ol>
        {adjustments.map((adjustment, index) => (
          <li key={index}>
            {adjustment.changes.map((change) => (
              <code key={change.field} className="change">
                {change.field}: {shown(change.from)} → {shown(change.to)}
              </code>
            ))}
            <span className="muted small">
              {BY[adjustment.by]} after attempt {adjustment.attempt}, {dateTime(adjustment.at)}. {adjustment.reason}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

const BY: Record<string, string> = {
  user: "Changed by the user",
  suggestion: "Changed as the analysis suggested",
  automatic: "Changed by automatic recovery",
};

function saveConfig(job: Job): void {
  saveFile(`${job.name}-config.json`, new Blob([JSON.stringify(job.config, null, 2)], { type: "application/json" }));
}
