import { useQuery } from "@tanstack/react-query";
import { isAdmin, sessionQuery, type Session } from "../../api/session";
import { useTitle } from "../../app/useTitle";
import { useQueryState } from "../../router/router";
import { Loading } from "../../ui/Notes";
import { Tabs } from "../../ui/Tabs";
import { AuditTab } from "./AuditTab";
import { KeysTab } from "./KeysTab";
import { LimitsTab } from "./LimitsTab";
import { UsersTab } from "./UsersTab";
import "../records.css";
import "./access.css";

const KEYS = { name: "keys", label: "Keys" };
const LIMITS = { name: "limits", label: "Limits" };
const OF_ADMINS = [{ name: "users", label: "Users" }, { name: "audit", label: "Audit log" }];

/** Who may use the service, and what they did. */
export default function AccessPage() {
  useTitle("Access");
  const { data: session } = useQuery(sessionQuery);
  return (
    <>
      <div className="page-head">
        <h1>Access</h1>
      </div>
      {session ? <AccessTabs session={session} /> : <Loading lines={4} />}
    </>
  );
}

function AccessTabs({ session }: { session: Session }) {
  const [query, setQuery] = useQueryState();
  const tabs = isAdmin(session) ? [KEYS, LIMITS, ...OF_ADMINS] : [KEYS, LIMITS];
  const tab = tabs.find(({ name }) => name === query.get("tab")) ?? KEYS;
  return (
    <Tabs
      label="Access"
      tabs={tabs}
      current={tab.name}
      onSelect={(name) => { setQuery({ tab: name === KEYS.name ? null : name, user: null }); }}
    >
      {tab.name === "users" && <UsersTab />}
      {tab.name === "audit" && <AuditTab />}
      {tab === LIMITS && <LimitsTab session={session} />}
      {tab === KEYS && <KeysTab session={session} />}
    </Tabs>
  );
}
