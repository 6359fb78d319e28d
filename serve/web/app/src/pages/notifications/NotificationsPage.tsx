import { useTitle } from "../../app/useTitle";
import { useQueryState } from "../../router/router";
import { Tabs } from "../../ui/Tabs";
import { ChannelsTab } from "./ChannelsTab";
import { NotificationList } from "./NotificationList";
import "../records.css";
import "./notifications.css";

const TABS = [
  { name: "list", label: "What happened" },
  { name: "channels", label: "Channels" },
];

/** What happened to one's jobs, and where else it is delivered. */
export default function NotificationsPage() {
  useTitle("Notifications");
  const [query, setQuery] = useQueryState();
  const tab = query.get("tab") === "channels" ? "channels" : "list";
  return (
    <>
      <div className="page-head">
        <h1>Notifications</h1>
      </div>
      <Tabs
        label="Parts of the page"
        tabs={TABS}
        current={tab}
        onSelect={(name) => { setQuery({ tab: name === "list" ? null : name }); }}
      >
        {tab === "list" ? <NotificationList /> : <ChannelsTab />}
      </Tabs>
    </>
  );
}
