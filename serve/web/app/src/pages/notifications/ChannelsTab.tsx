import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import {
  channelsQuery,
  deleteChannel,
  isDelivering,
  notificationKeys,
  switchChannel,
  testChannel,
  type Channel,
} from "../../api/notifications";
import { ago, count } from "../../format/format";
import type { StateLook } from "../../format/status";
import { Button } from "../../ui/Button";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { Menu } from "../../ui/Menu";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { StatePill } from "../../ui/Status";
import { TableHead } from "../../ui/TableHead";
import { ChannelDialog } from "./ChannelDialog";
import { KINDS } from "./kinds";

export function ChannelsTab() {
  const { data: channels, error, refetch } = useQuery(channelsQuery);
  const [isAdding, setAdding] = useState(false);
  return (
    <div className="parts">
      <div className="toolbar notification-head">
        <p className="muted">A channel delivers notifications outside the service: to a webhook, by mail, or to a chat service.</p>
        <Button look="primary" icon="new" onClick={() => { setAdding(true); }}>Add a channel</Button>
      </div>
      {error && <ErrorNote error={error} retry={() => void refetch()} />}
      {!channels && !error && <Loading lines={3} />}
      {channels?.length === 0 && (
        <EmptyState title="No channels yet">
          <p>Without one, notifications are shown on this page only.</p>
        </EmptyState>
      )}
      {channels && channels.length > 0 && <Table channels={channels} />}
      {isAdding && <ChannelDialog channels={channels ?? []} onClose={() => { setAdding(false); }} />}
    </div>
  );
}

function Table({ channels }: { channels: Channel[] }) {
  return (
    <table className="table stack records">
      <TableHead columns={["Name", "State", "Delivers", "Last sent", { hidden: "Actions" }]} />
      <tbody>
        {channels.map((channel) => <Row key={channel.name} channel={channel} />)}
      </tbody>
    </table>
  );
}

function Row({ channel }: { channel: Channel }) {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const [isAsked, setAsked] = useState(false);
  const reload = () => client.invalidateQueries({ queryKey: notificationKeys.channels });
  async function run(call: () => Promise<unknown>) {
    setError(null);
    try {
      await call();
    } catch (failure) {
      setError(failure);
    }
    await reload();
  }
  const { name } = channel;
  return (
    <tr>
      <th scope="row" className="record-name">
        <b>{name}</b>
        <span className="muted small">{channel.target}</span>
      </th>
      <td data-label="State"><State channel={channel} />{error !== null && <ErrorNote error={error} />}</td>
      <td data-label="Delivers"><span>{whatOf(channel)}</span></td>
      <td data-label="Last sent">{channel.last_sent_at ? ago(channel.last_sent_at) : "never"}</td>
      <td className="record-actions">
        <Menu
          label={`Actions for ${name}`}
          items={[
            { label: "Send a test", run: () => void run(() => testChannel(name)) },
            {
              label: channel.is_on ? "Switch it off" : "Switch it on",
              run: () => void run(() => switchChannel(name, !channel.is_on)),
            },
            { label: "Delete the channel…", danger: true, run: () => { setAsked(true); } },
          ]}
        />
        {isAsked && (
          <ConfirmDialog
            title={`Delete ${name}?`}
            confirm="Delete the channel"
            keep="Keep it"
            onClose={() => { setAsked(false); }}
            action={async () => {
              await deleteChannel(name);
              await reload();
            }}
          >
            <p>Nothing is delivered to {channel.target} any more, including the {count(channel.num_pending)} notifications that wait.</p>
          </ConfirmDialog>
        )}
      </td>
    </tr>
  );
}

function State({ channel }: { channel: Channel }) {
  const look = stateOf(channel);
  const lost = channel.num_lost ? `${count(channel.num_lost)} lost.` : "";
  const waiting = !isDelivering(channel) && channel.num_pending ? `${count(channel.num_pending)} waiting.` : "";
  const retry = channel.is_on && channel.last_error && channel.retry_at ? "It is tried again later." : "";
  return (
    <div className="channel-state">
      <StatePill look={look} />
      <span className="small">{[channel.last_error ?? "", retry, waiting, lost].filter(Boolean).join(" ")}</span>
    </div>
  );
}

function stateOf(channel: Channel): StateLook {
  if (!channel.is_on) return { glyph: "⊘", label: "Off", tone: "quiet" };
  if (channel.last_error) return { glyph: "✗", label: "Failing", tone: "bad" };
  if (isDelivering(channel)) return { glyph: "◔", label: "Delivering", tone: "active" };
  return { glyph: "✓", label: "On", tone: "good" };
}

function whatOf({ kinds, jobs }: Channel): string {
  const what = kinds?.length ? kinds.map((kind) => KINDS[kind].label).join(", ") : "All kinds";
  return jobs?.length ? `${what}; only ${jobs.join(", ")}` : what;
}
