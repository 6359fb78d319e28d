import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { devicesQuery } from "../../api/queue";
import { number } from "../../format/format";
import { ErrorNote } from "../../ui/Notes";

type DeviceUse = Schemas["DeviceUse"];

/** How many devices there are of each type, and how many are free. */
export function Devices() {
  const { data: devices, error, refetch } = useQuery(devicesQuery);
  if (error) return <ErrorNote error={error} retry={() => void refetch()} />;
  if (!devices?.length) return null;
  return (
    <dl className="device-use" aria-label="Devices">
      {devices.map((use) => (
        <div key={use.device} className="panel">
          <dt>{nameOf(use.device)}</dt>
          <dd><Use use={use} /></dd>
        </div>
      ))}
    </dl>
  );
}

function Use({ use: { device, total, used, out, free } }: { use: DeviceUse }) {
  if (total === null || free === null) return <p className="muted">{number(used)} used; the total is not known at the moment</p>;
  return (
    <>
      <p>
        <b className="numeric">{number(free)} free</b> <span className="muted numeric">of {number(total)}, {number(used)} used{out > 0 && `, ${number(out)} taken out`}</span>
      </p>
      <meter min={0} max={total} value={Math.min(used, total)} aria-label={`${nameOf(device)} used`} />
    </>
  );
}

function nameOf(device: string): string {
  if (device === "cpu") return "CPU cores";
  return device === "gpu" ? "GPUs" : `${device} GPUs`;
}
